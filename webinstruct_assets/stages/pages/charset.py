"""The charset of a page, in the order of the WHATWG Encoding and HTML standards: BOM, HTTP header, meta, detection.

Bytes and a Content-Type come in; text and the name of the encoding go out.
"""

import codecs
import re

from webinstruct_assets.stages.pages.document import PageRejected

PRESCAN_BYTES = 4096  # the standard asks for 1024 and allows more; pages exist whose meta comes later
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF16_LE, "utf-16-le"))
META = re.compile(rb"<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
XML = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
COMMENT = re.compile(rb"<!--.*?(?:-->|$)", re.DOTALL)
HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)

# Where the WHATWG's meaning of a label is not Python's.
LABELS = {
    "ascii": "cp1252", "us-ascii": "cp1252", "iso-8859-1": "cp1252", "iso8859-1": "cp1252", "iso_8859-1": "cp1252",
    "latin1": "cp1252", "l1": "cp1252", "x-cp1252": "cp1252", "ansi": "cp1252", "iso-8859-9": "cp1254",
    "latin5": "cp1254", "iso-8859-11": "cp874", "tis-620": "cp874", "windows-874": "cp874", "gb2312": "gb18030",
    "gbk": "gb18030", "gb_2312-80": "gb18030", "x-gbk": "gb18030", "shift_jis": "cp932", "shift-jis": "cp932",
    "sjis": "cp932", "x-sjis": "cp932", "windows-31j": "cp932", "euc-kr": "cp949", "ks_c_5601-1987": "cp949",
    "ksc5601": "cp949", "windows-949": "cp949", "big5": "big5hkscs", "x-x-big5": "big5hkscs", "unicode": "utf-16-le",
    "utf-16": "utf-16-le", "unicode-1-1-utf-8": "utf-8", "x-mac-cyrillic": "mac_cyrillic", "macintosh": "mac_roman",
    "x-mac-roman": "mac_roman", "dos-874": "cp874", "iso-8859-8-i": "iso-8859-8", "x-euc-jp": "euc_jp",
}  # fmt: skip
TEXT_CODECS = re.compile(r"utf-8|utf-16-[bl]e|cp(125\d|866|874|932|949)|gb18030|big5hkscs|euc_jp|euc-jp|"
                         r"iso-?8859-\d+|iso-?2022-jp|koi8-[ru]|mac[-_](roman|cyrillic)")  # fmt: skip


def codec_of(label: str) -> str | None:
    """Python's codec for a charset label as browsers read it; None for labels they do not know."""
    name = label.strip().lower()
    name = LABELS.get(name, name)
    try:
        name = LABELS.get(codecs.lookup(name).name, codecs.lookup(name).name)
    except (LookupError, ValueError):
        return None
    return name if TEXT_CODECS.fullmatch(name) else None


def declared(html: bytes, content_type: str | None) -> str | None:
    """The codec that the page or its header names; None when neither names a known one."""
    header = HEADER.search(content_type or "")
    if header and (codec := codec_of(header[1])):
        return codec
    head = COMMENT.sub(b"", html[:PRESCAN_BYTES])
    for pattern in (META, XML):
        found = pattern.search(head)
        if found and (codec := codec_of(found[1].decode("ascii"))):
            return "utf-8" if codec.startswith("utf-16") else codec  # a meta that could be read is not UTF-16
    return None


def decode(html: bytes, content_type: str | None) -> tuple[str, str]:
    """Text and codec of a page. Raises PageRejected when the bytes are not text in any encoding."""
    for bom, marked in BOMS:
        if html.startswith(bom):
            return html[len(bom) :].decode(marked, "replace"), marked
    codec = declared(html, content_type)
    if codec == "utf-8" or codec is None:
        try:
            return html.decode("utf-8"), "utf-8"
        except UnicodeDecodeError as error:
            if codec is None or _mostly_broken(html):
                return _detect(html, error)
    return html.decode(codec, "replace"), codec


def utf8(html: bytes, content_type: str | None) -> tuple[bytes, str]:
    """A page as UTF-8 bytes, and the codec it was read as. Raises PageRejected as ``decode`` does."""
    text, codec = decode(html, content_type)
    if codec == "utf-8" and "\ufffd" not in text and not html.startswith(codecs.BOM_UTF8):
        return html, codec
    return text.encode("utf-8", "replace"), codec


def _mostly_broken(html: bytes) -> bool:
    """Whether a page that says UTF-8 plainly is not: most of its non-ASCII sequences are invalid."""
    text = html.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return broken > 4 and broken > sum(1 for char in text if char > "\x7f") / 2


def _detect(html: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    best = from_bytes(html[:60_000], enable_fallback=False).best()
    if best is None:
        raise PageRejected("unknown_charset", f"no charset declared, not UTF-8 (byte {error.start}), none detected")
    codec = codec_of(best.encoding) or best.encoding
    return html.decode(codec, "replace"), codec
