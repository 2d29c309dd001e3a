"""Plain text of pages: as Common Crawl's WET files have it."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webinstruct_assets.core.warc import iter_records
from webinstruct_assets.stages.crawl.plain_text import decode_text, visible_text


def test_same_text_as_common_crawls_own_wet_file(shared_real: Path) -> None:
    def payload(name: str, kind: str) -> bytes:
        data = (shared_real / "crawl" / name).read_bytes()
        (record,) = iter_records(io.BytesIO(data), name, on_reject=lambda _: None, types=(kind,))
        return record.payload

    text, charset = decode_text(payload("whirlwind.warc.gz", "response"), "text/html; charset=UTF-8")
    assert visible_text(text) + "\n" == payload("whirlwind.warc.wet.gz", "conversion").decode()
    assert charset == "UTF-8"


def test_blocks_are_lines_and_hidden_elements_are_left_out() -> None:
    html = (
        "<title> A  title </title><style>p{}</style><script>x()</script><body><p>one <b>two</b>\n three<br>four"
        "<table><tr><td>1<td>2<tr><td>3</table><pre>a\n  b</pre><!-- no --><ul><li>x<li>y</ul>end"
    )
    assert visible_text(html).split("\n") == ["A title", "one two three", "four", "1 2", "3", "a", "b", "x", "y", "end"]


def test_deep_nesting_does_not_overflow() -> None:
    assert visible_text("<div>" * 5_000 + "deep") == "deep"


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(max_size=300))
def test_any_text_gives_folded_lines(html: str) -> None:
    for line in visible_text(html).split("\n")[:-1]:
        assert line == " ".join(line.split()) != ""


@pytest.mark.parametrize(
    ("payload", "content_type", "expected"),
    [
        ("Größe".encode(), "", ("Größe", "UTF-8")),
        ("Größe".encode(), "text/html; charset=iso-8859-1", ("Größe", "UTF-8")),
        (b"\xef\xbb\xbfx", "", ("x", "UTF-8")),
        ("Größe".encode("cp1252"), "text/html", ("Größe", "windows-1252")),
        ("“ñ”".encode("cp1252"), "text/html; charset=ISO-8859-1", ("“ñ”", "windows-1252")),
        ("<meta charset='iso-8859-2'>ł".encode("iso-8859-2"), "", ("<meta charset='iso-8859-2'>ł", "ISO-8859-2")),
        (b"\xe9", "text/html; charset=hex", ("é", "windows-1252")),
        (b"\xff\xfeh\0i\0", "", ("hi", "UTF-16")),
    ],
)
def test_charsets(payload: bytes, content_type: str, expected: tuple[str, str]) -> None:
    assert decode_text(payload, content_type) == expected
