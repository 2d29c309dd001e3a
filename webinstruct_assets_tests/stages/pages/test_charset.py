"""The charset of a page: BOM before header before meta before detection."""

import pytest

from webinstruct_assets.stages.pages.charset import codec_of, decode
from webinstruct_assets.stages.pages.document import PageRejected
from webinstruct_assets.stages.pages.html import extract_page

RUSSIAN = "Решите уравнение и найдите все корни. Ответ запишите в виде десятичной дроби."
CASES = {
    "utf-8 undeclared": ("ä€".encode(), None, "ä€", "utf-8"),
    "bom beats header": (b"\xef\xbb\xbf" + "ä".encode(), "text/html; charset=iso-8859-1", "ä", "utf-8"),
    "utf-16 bom": ("\ufeff" + "ä").encode("utf-16-le").join([b"", b""]) or b"",
    "header beats meta": (b"<meta charset=utf-8>\xe4", "text/html; charset=ISO-8859-1", "ä", "cp1252"),
    "meta": (b"<meta charset='windows-1251'>" + "Да".encode("cp1251"), "text/html", "Да", "cp1251"),
    "meta http-equiv": (
        b'<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS">' + "問題".encode("cp932"), None, "問題", "cp932",
    ),
    "latin-1 means windows-1252": (b"\x93x\x94", "text/html; charset=latin1", "“x”", "cp1252"),
    "gb2312 means gb18030": ("题".encode("gb18030"), "text/html; charset=gb2312", "题", "gb18030"),
    "meta in a comment": (b"<!-- <meta charset=koi8-r> --><meta charset=utf-8>" + "ä".encode(), None, "ä", "utf-8"),
    "meta says utf-16": (b"<meta charset=utf-16>" + "ä".encode(), None, "ä", "utf-8"),
    "unknown label": ("ä".encode(), "text/html; charset=x-none-such", "ä", "utf-8"),
    "declared utf-8, one bad byte": ("Größe ä ö ü".encode() + b"\xff", "text/html; charset=utf-8", "Größe ä ö ü\ufffd", "utf-8"),
}  # fmt: skip
CASES["utf-16 bom"] = (b"\xff\xfe" + "ä".encode("utf-16-le"), None, "ä", "utf-16-le")


@pytest.mark.parametrize("name", CASES)
def test_decode(name: str) -> None:
    html, content_type, text, codec = CASES[name]
    decoded, used = decode(html, content_type)
    assert used == codec
    assert decoded.endswith(text)


def test_detection_of_undeclared_legacy_encoding() -> None:
    text, codec = decode((RUSSIAN * 4).encode("cp1251"), None)
    assert (text, codec) == (RUSSIAN * 4, "cp1251")


def test_wrongly_declared_utf8_is_detected() -> None:
    text, _ = decode((RUSSIAN * 4).encode("cp1251"), "text/html; charset=utf-8")
    assert text == RUSSIAN * 4


@pytest.mark.parametrize("label", ["utf-7", "base64", "rot13", "zlib", "idna", "", "x" * 40, "unicode_escape"])
def test_codecs_that_are_no_charsets(label: str) -> None:
    assert codec_of(label) is None


def test_bytes_that_are_no_text() -> None:
    noise = bytes((index * 37 + 11) % 256 for index in range(4096))
    with pytest.raises(PageRejected) as rejected:
        extract_page(b"<p>" + noise, url="https://a.example/")
    assert rejected.value.reason in ("unknown_charset", "undecodable")
