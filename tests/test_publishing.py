"""Claims, verdicts and films: what chapters show besides figures and numbers."""

import jax
import numpy as np
import pytest

import assimilation as da
from assimilation.figures import Video, new_figure


def test_a_claim_that_holds_is_one_line(capsys):
    da.check("one is one", np.array(True))
    assert capsys.readouterr().out == "✓ one is one\n"


def test_a_claim_that_does_not_hold_is_an_error_that_quotes_it():
    with pytest.raises(AssertionError, match="no longer holds: one is two"):
        da.check("one is two", np.array(False))


@pytest.fixture
def shown(monkeypatch):
    """A notebook, and what it shows."""
    ipython, found = pytest.importorskip("IPython"), []
    monkeypatch.setattr(ipython, "get_ipython", object)
    monkeypatch.setattr(ipython.display, "display", lambda data, raw: found.append(data))
    return found


def test_a_readers_notebook_goes_on_after_a_claim_that_does_not_hold(shown):
    da.check("one < two", np.array(False))
    (data,) = shown
    assert f"does not hold here: one < two (With jax {jax.__version__}, " in data["text/plain"]
    assert "one &lt; two" in data["text/html"]
    assert 'class="claim-fails"' in data["text/html"]


def test_the_build_stops_at_a_claim_that_does_not_hold(shown, monkeypatch):
    monkeypatch.setenv("ASSIMILATION_BOOK", "chapter")
    with pytest.raises(AssertionError, match="no longer holds: one is two"):
        da.check("one is two", np.array(False))
    assert not shown


def test_a_wrong_answer_stays_wrong_in_a_notebook(shown):
    with pytest.raises(AssertionError, match=r"Not yet\. think"):
        da.verdict(np.array(False), "think")
    da.verdict(np.array(True), "think")
    assert [data["text/plain"] for data in shown] == ["✓ Right."]


def test_a_wrong_answer_is_an_error_with_the_hint(capsys):
    da.verdict(np.array(True), "think")
    assert capsys.readouterr().out == "✓ Right.\n"
    with pytest.raises(AssertionError, match=r"Not yet\. think"):
        da.verdict(np.array(False), "think")


def test_a_film_is_shown_in_place_with_its_description():
    fig, ax = new_figure(2.01)
    (line,) = ax.plot([0, 1], [0, 1])
    video = Video(fig, lambda n: line.set_ydata([0, n]), 3, 'a "line" that turns')
    assert b"ftyp" in video.data[:12]
    page = video._repr_html_()
    assert 'aria-label="a &quot;line&quot; that turns"' in page
    assert 'src="data:video/mp4;base64,' in page


def test_an_answer_that_a_check_cannot_use_is_a_wrong_answer():
    @da.self_check
    def check_half(function):
        da.verdict(function(2.0) == 1.0, "Half of it.")

    check_half(lambda x: x / 2)
    with pytest.raises(AssertionError, match=r"Not yet\. Half of it"):
        check_half(lambda x: x)
    with pytest.raises(AssertionError, match=r"check_half cannot use this answer \(None\): 'None"):
        check_half(None)
    with pytest.raises(AssertionError, match=r"\(int, str\): .* takes 1 positional argument"):
        check_half(1, "b")

    def unwritten(x):
        raise NotImplementedError("no answer yet")

    with pytest.raises(NotImplementedError, match="no answer yet"):
        check_half(unwritten)
