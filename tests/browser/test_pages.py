"""Every page, in the light and in the dark."""

import pytest
from conftest import PAGES


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_trouble(open_page, name, theme):
    page = open_page(name, theme=theme)
    assert page.locator("html").get_attribute("data-theme") == theme
    assert page.locator("mjx-merror").count() == 0


def test_the_index_leads_to_the_first_page(page, site):
    page.goto(site)
    page.wait_for_url(f"{site}book/intro.html")
