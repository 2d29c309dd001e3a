"""A page's HTML to its text: one parse, one walk over the nodes, boilerplate decided on the result.

Bytes come in, a ``Page`` goes out: Markdown-like lines (``## `` headings, list items, table rows with `` | ``,
fenced code, ``$…$``/``$$…$$`` mathematics) with the source block of each, and the pairs that markup and
structure show without a model. Extraction for question pages differs from news: formulas, code, hidden answers
and short pages matter, so what readers can open is kept and what is dropped is counted with its reason.
"""

import gc
import re
from collections import Counter

from webinstruct_assets.stages.pages import boilerplate, charset, reader, rules
from webinstruct_assets.stages.pages.document import Layout, Line, Page, PageRejected
from webinstruct_assets.stages.pages.rules.threads import thread_posts

MAX_BYTES = 16_000_000
BLANK = b"\x00 \t\r\n"
FORUM_HINT = re.compile(r"forum|thread|topic|showthread|viewtopic|/questions?/|/t/|/q/|board|discuss", re.IGNORECASE)


def extract_page(
    html: bytes, *, url: str, content_type: str | None = None, max_seconds: float = reader.MAX_SECONDS
) -> Page:
    """The cleaned page.

    Raises PageRejected: ``too_large`` (bytes, nodes, depth), ``too_slow``, ``unknown_charset``, ``undecodable``, ``empty_page``.
    """
    if len(html) > MAX_BYTES:
        raise PageRejected("too_large", f"{len(html):,} bytes, limit {MAX_BYTES:,}")
    if not html[:1_000].strip(BLANK) and not html.strip(BLANK):
        raise PageRejected("empty_page", "no bytes but white space")
    reader.prepare()
    collecting = gc.isenabled()
    gc.disable()  # a page is thousands of small objects without cycles; the collector would walk all others again and again
    try:
        return _extract(html, url, content_type, max_seconds)
    finally:
        if collecting:
            gc.enable()


def _extract(html: bytes, url: str, content_type: str | None, max_seconds: float) -> Page:
    clock = reader.Clock(max_seconds)
    source, codec = charset.utf8(html, content_type)
    if b"\x00" in source and source.count(b"\x00") > len(source) / 10:
        raise PageRejected("undecodable", f"a tenth of the text is NUL characters when read as {codec}")
    reading = reader.read(source, clock)
    layout = reading.layout
    boilerplate.drop_boilerplate(layout, forum=FORUM_HINT.search(url) is not None or reading.accepted)
    text, lines = _lines(layout)
    dropped = Counter([block.dropped for block in layout.blocks if block.dropped and block.text])
    if reading.pruned:
        dropped["pruned"] = reading.pruned
    page = Page(
        url=url, title=reading.title, text=text, lines=lines, language=_language(reading.language, text), charset=codec,
        dropped=dict(sorted(dropped.items())), math=sum(block.math for block in layout.blocks if not block.dropped),
    )  # fmt: skip
    if not page.title:
        page.title = next((block.text for block in layout.blocks if block.kind == "heading"), "")
    clock.check()
    page.markup_pairs, page.markup_rejects = rules.find_pairs(page, layout, read_fragment)
    page.posts = thread_posts(layout)
    clock.check()
    return page


def read_fragment(html: str) -> str:
    """The text of an HTML fragment, read as a page's own text is (mathematics included), in one line."""
    reading = reader.read(html[:200_000].encode("utf-8", "replace"), reader.Clock(reader.MAX_SECONDS))
    return " ".join(block.text for block in reading.layout.blocks)


def _lines(layout: Layout) -> tuple[str, list[Line]]:
    """The page's text from its kept blocks, whose offsets are set here."""
    parts: list[str] = []
    lines: list[Line] = []
    position = 0
    row = -1

    def add(text: str) -> int:
        nonlocal position
        start = position
        parts.append(text)
        position += len(text)
        return start

    for index, block in enumerate(layout.blocks):
        if block.dropped:
            continue
        if block.row >= 0 and block.row == row:  # another cell of the same line
            add(" | ")
            block.start = add(block.text.replace("\n", " "))
            block.end = position
            lines[-1] = lines[-1]._replace(end=position, kind="row")
            continue
        row = block.row
        if lines:
            add("\n")
        fence = block.kind == "code"
        if fence:
            start = add("```")
            lines.append(Line(start, start, position, index, "fence"))
            add("\n")
        block.start = position + len(block.marker)
        pieces = block.text.replace("\n", " ").split("\n") if block.row >= 0 else block.text.split("\n")
        for number, piece in enumerate(pieces):
            if number:
                add("\n")
            start = position
            marker = block.marker if number == 0 else ""
            add(marker + piece)
            lines.append(Line(start, start + len(marker), position, index, block.kind))
        block.end = position
        if fence:
            add("\n")
            start = add("```")
            lines.append(Line(start, start, position, index, "fence"))
            block.start, block.end = block.start - 4, position  # a pair's code keeps its fence
    return "".join(parts), lines


def _language(declared: str, text: str) -> str:
    """ISO 639-1 code: what the page declares, else what its words look like, else ""."""
    code = re.split(r"[-_]", declared.strip().lower())[0]
    if re.fullmatch(r"[a-z]{2,3}", code):
        return code
    if len(text) < 40:
        return ""
    from py3langid.langid import classify

    return str(classify(text[:1_000])[0])
