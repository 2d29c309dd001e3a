"""Headings, or bold lines used as headings, that ask, with the text below them.

A question mark alone is not enough: tables of contents repeat questions without answers, articles have one figure of
speech among their headings, teasers link away. So the titles of a section are judged together.
"""

from dataclasses import dataclass

from webinstruct_assets.stages.pages.document import Block, Layout, Page, Pair, Span, make_pair, trim
from webinstruct_assets.stages.pages.questions import LABEL, QUESTION_MARK
from webinstruct_assets.stages.pages.rules.asking import (
    FAQ,
    answers,
    named_faq,
    page_is_faq,
    plainly_asks,
    span_text,
    title_asks,
)
from webinstruct_assets.stages.pages.rules.spans import without_label, without_question_label

BOLD_LEVEL = 7  # a bold line stands below all headings


@dataclass
class _Entry:
    """A title and the blocks below it. ``section``: place of the heading above it, -1 for none."""

    place: int
    body: list[int]
    section: int
    asks: bool
    plainly: bool
    hinted: bool


def heading_question(page: Page, layout: Layout) -> list[Pair]:
    """Headings that ask with the text below them, where headings of that level mostly ask."""
    blocks = layout.blocks
    kept = layout.kept(0, len(blocks))
    titles = [(place, blocks[index].level) for place, index in enumerate(kept) if blocks[index].kind == "heading"]
    pairs = []
    for level in sorted({level for place, level in titles if "?" in blocks[kept[place]].text}):
        entries = _entries(page, layout, kept, titles, level)
        for entry in _accepted(entries, level):
            answer = without_label(page.text, layout, entry.body)
            question = without_question_label(page.text, layout, [kept[entry.place]])
            if answer and question:
                pairs.append(make_pair(page.text, "heading_question", question, answer))
    return pairs


def bold_question(page: Page, layout: Layout) -> list[Pair]:
    """Bold lines that ask, at the beginning of a block or as a block, with the text up to the next bold line."""
    blocks = layout.blocks
    kept = layout.kept(0, len(blocks))
    titles = []
    for place, index in enumerate(kept):
        block = blocks[index]
        if block.kind == "heading":
            titles.append((place, block.level))
        elif block.bold and block.kind in ("paragraph", "item") and block.row < 0:
            titles.append((place, BOLD_LEVEL))
    if not any(level == BOLD_LEVEL and "?" in blocks[kept[place]].text for place, level in titles):
        return []
    entries = _entries(page, layout, kept, titles, BOLD_LEVEL)
    accepted = _accepted(entries, BOLD_LEVEL)
    longest = max((len(entry.body) for entry in accepted[:-1]), default=1)
    pairs = []
    for number, entry in enumerate(accepted):
        block = blocks[kept[entry.place]]
        if number == len(accepted) - 1 and entry is entries[-1]:
            entry.body = entry.body[:longest]  # nothing ends the last answer but the page
        question, rest = _bold_part(page.text, block.span, block.bold)
        answer = ([rest] if rest else []) + list(without_label(page.text, layout, entry.body))
        if len(answer) > 1 and rest and page.text[rest.end : answer[1].start].isspace():
            answer[:2] = [Span(rest.start, answer[1].end)]
        if answer:
            pairs.append(make_pair(page.text, "bold_question", [_unlabelled(page.text, question)], answer))
    return pairs


def _bold_part(text: str, span: Span, lines: int) -> tuple[Span, Span | None]:
    """The bold lines of a block, and the rest of it."""
    end = span.start
    for _ in range(lines):
        end = text.find("\n", end + 1, span.end)
        if end < 0:
            return span, None
    rest = trim(text, Span(end, span.end))
    return trim(text, Span(span.start, end)), rest if rest.end > rest.start else None


def _unlabelled(text: str, span: Span) -> Span:
    found = QUESTION_MARK.match(text, span.start, span.end) or LABEL.match(text, span.start, span.end)
    return trim(text, Span(found.end(), span.end)) if found and found.end() < span.end else span


def _title(block: Block, level: int) -> str:
    """A heading's text, or the bold lines of a block."""
    return " ".join(block.text.split("\n")[: block.bold]) if level == BOLD_LEVEL and block.bold else block.text


def _entries(page: Page, layout: Layout, kept: list[int], titles: list[tuple[int, int]], level: int) -> list[_Entry]:
    """The titles of one level that something stands below, with their bodies."""
    blocks = layout.blocks
    if not any(
        title_asks(_title(blocks[kept[place]], level), page.language, hinted=True)
        for place, own in titles
        if own == level
    ):
        return []  # most pages: no need to look at what stands below
    faq = page_is_faq(page)
    entries = []
    section, section_hint = -1, False
    for number, (place, own_level) in enumerate(titles):
        block = blocks[kept[place]]
        if own_level < level:
            section, section_hint = place, FAQ.search(block.text) is not None
            continue
        if own_level > level:
            continue
        following = next((after for after, other in titles[number + 1 :] if other <= level), len(kept))
        body = _within_section(layout, block.container, kept[place + 1 : following])
        text = _title(block, level)
        below = answers(layout, body)
        if level == BOLD_LEVEL:
            below = below or len(block.text.split("\n")) > block.bold
        if not below:
            continue
        hinted = faq or section_hint or named_faq(layout, block.container)
        reply = span_text(page.text, layout.spans(body[:1]))
        asks = not block.away and title_asks(text, page.language, hinted=hinted, answer=reply)
        entries.append(_Entry(place, body, section, asks, asks and plainly_asks(text, page.language), hinted))
    return entries


def _accepted(entries: list[_Entry], level: int) -> list[_Entry]:
    """The entries that ask, where asking is the rule: on the page, in their section, or in a run of three."""
    asking = [entry for entry in entries if entry.asks]
    if level == 1 and len(asking) < 3:
        return []
    share = len(asking) / max(len(entries), 1)
    if (len(asking) >= 2 and share >= 0.6) or (len(asking) >= 3 and share >= 0.4):
        return asking
    plain = sum(entry.plainly for entry in asking)
    found = []
    for entry in asking:
        own = [other for other in entries if other.section == entry.section]
        among = sum(other.asks for other in own)
        many = entry.plainly and (plain >= 3 or (plain >= 2 and share >= 0.4))
        if (
            entry.hinted
            or many
            or (among >= 2 and among >= 0.6 * len(own) and len(own) < len(entries))
            or _run(own, entry) >= 3
        ):
            found.append(entry)
    return found


def _run(entries: list[_Entry], entry: _Entry) -> int:
    """Length of the run of asking neighbours that an entry is in."""
    at = entries.index(entry)
    first = last = at
    while first and entries[first - 1].asks:
        first -= 1
    while last + 1 < len(entries) and entries[last + 1].asks:
        last += 1
    return last - first + 1


def _within_section(layout: Layout, container: int, body: list[int]) -> list[int]:
    """The part of ``body`` inside the section of its heading, where the heading has a section with text of its own."""
    if not body:
        return body
    for up in layout.ancestors(container):
        owner = layout.containers[up]
        if owner.first <= body[0] < owner.last:
            return [index for index in body if index < owner.last] if up > 0 else body
    return body
