"""The check of links to other sites, against a server of the test's own."""

import http.server
import threading

import check_links
import pytest
from test_build_book import cell


@pytest.fixture
def address():
    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/there" else 404)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_dead_link_is_named_with_its_place(write_book, address, capfd):
    book = write_book(chapter=[f"[alive]({address}/there) and [dead]({address}/gone)"])
    assert check_links.main(book) == 1
    said = capfd.readouterr().out
    assert f"chapter.md:8: {address}/gone\n" in said
    assert "/there" not in said
    assert "2 links to other sites, 1 of them broken" in said


def test_links_that_answer_are_counted_and_no_cell_runs(write_book, address, tmp_path, capfd):
    mark = tmp_path / "mark"
    book = write_book(chapter=[f"[alive]({address}/there)", cell(f"open({str(mark)!r}, 'w')")])
    assert check_links.main(book) == 0
    assert not mark.exists()
    assert "1 links to other sites, 0 of them broken" in capfd.readouterr().out


def test_a_book_that_cannot_be_read_is_an_error(write_book, capfd):
    book = write_book(chapter=["Text."])
    (book / "_toc.yml").write_text("format: jb-book\nroot: missing\n")
    assert check_links.main(book) == 1
    assert "missing" in capfd.readouterr().err


def test_a_doi_is_looked_up_in_its_registry():
    asked = check_links.ask_the_registry(None, "https://doi.org/10.1000/182")
    assert asked == "https://doi.org/api/handles/10.1000/182"
    assert check_links.ask_the_registry(None, "https://example.org/doi.org/") is None
