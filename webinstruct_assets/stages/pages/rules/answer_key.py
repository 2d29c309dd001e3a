"""Numbered questions whose answers stand below, under an "Answers" heading, a "Key:" or in a solutions element."""

import re
from dataclasses import dataclass

from webinstruct_assets.stages.pages.document import Layout, Page, Pair, Span, make_pair, trim
from webinstruct_assets.stages.pages.questions import KEY_HEADING, KEY_PREFIX, LABEL, MARKS
from webinstruct_assets.stages.pages.rules.openers import answer_containers
from webinstruct_assets.stages.pages.rules.spans import LABEL_CELL, merged, numbers, overlap

LETTER_KEY = re.compile(r"(?<![\w.])(\d{1,2})\s*[.:)–-]?\s*\(?([A-Ea-e])\)?(?=[\s,;.]|$)")
ROMAN_OR_LETTER = re.compile(r"[a-h]|[ivx]{1,4}")


def answer_key(page: Page, layout: Layout) -> list[Pair]:
    """Numbered questions, and below them ("Answers", "Key:", a solutions element) answers with the same numbers."""
    found = _key(page, layout)
    if found is None:
        return []
    questions = _labelled(page, layout, found.above, stems=True)
    answers = _running(page.text, layout, found) or _labelled(page, layout, found.below, stems=False)
    given = _unique(answers)
    known = _unique(_with_choices(page.text, questions, given))
    common = [label for label in known if label in given]
    if len(common) < 2 or len(common) < 0.6 * len(given):
        return []
    pairs = [make_pair(page.text, "answer_key", known[label], given[label]) for label in common]
    return [pair for pair in pairs if pair.answer.strip()]


@dataclass
class _Key:
    """Blocks above and below the start of a page's answers; ``start``: offset behind "Key:" in the first one."""

    above: list[int]
    below: list[int]
    start: int


def _key(page: Page, layout: Layout) -> _Key | None:
    """The one place where a page's answers begin; None when there is none, or more than one."""
    blocks, text = layout.blocks, page.text
    kept = layout.kept(0, len(blocks))
    keys = []
    for place, index in enumerate(kept):
        block = blocks[index]
        if place == 0 or block.kind == "code" or block.row >= 0:
            continue
        if len(block.text) < 60 and KEY_HEADING.fullmatch(block.text.strip()):
            keys.append((place, place + 1, block.level or 9, -1))
        elif (prefix := KEY_PREFIX.match(text, block.start, block.end)) and (
            LABEL.match(text, prefix.end(), block.end) or LETTER_KEY.match(text, prefix.end(), block.end)
        ):
            keys.append((place, place, 9, prefix.end()))
    if not keys:
        for index in answer_containers(layout):
            body = layout.kept(layout.containers[index].first, layout.containers[index].last)
            if numbers(text, layout, body) > 1:
                place = kept.index(body[0])
                keys.append((place, place, 9, -1))
    if len(keys) != 1:
        return None
    above_end, below_start, level, start = keys[0]
    below = kept[below_start:]
    for place, index in enumerate(below):
        if (
            blocks[index].kind == "heading"
            and blocks[index].level <= level
            and not LABEL_CELL.fullmatch(blocks[index].text)
        ):
            below = below[:place]
            break
    return _Key(kept[:above_end], below, start)


def _with_choices(
    text: str, questions: list[tuple[str, tuple[Span, ...]]], given: dict[str, tuple[Span, ...]]
) -> list[tuple[str, tuple[Span, ...]]]:
    """Questions whose lettered parts have no answers of their own take them in: they are choices."""
    whole: list[tuple[str, tuple[Span, ...]]] = []
    for label, spans in questions:
        number = re.match(r"\d+", label)
        if number and label != number[0] and label not in given and whole and whole[-1][0] == number[0]:
            known = whole[-1][1]
            whole[-1] = (number[0], merged(text, [*known, *(span for span in spans if not overlap((span,), known))]))
        else:
            whole.append((label, spans))
    return whole


def _running(text: str, layout: Layout, key: _Key) -> list[tuple[str, tuple[Span, ...]]]:
    """Answers one after the other in running text: ``1 B  2 D``, ``1. 4900 W 2. 5.9 g``, ``(a) 15 mJ; (b) 72 μC``."""
    for index in key.below[:2]:
        block = layout.blocks[index]
        start = key.start if block.start <= key.start < block.end else block.start
        letters = list(LETTER_KEY.finditer(text, start, block.end))
        rest = LETTER_KEY.sub("", text[start : block.end])
        if len(letters) >= 2 and len(re.sub(r"\W", "", rest)) < 12:
            return [(match[1], (Span(match.start(2), match.end(2)),)) for match in letters]
        for labels in (map(str, range(1, 40)), map(chr, range(ord("a"), ord("i")))):
            places: list[tuple[str, int, int]] = []
            position = start
            for label in labels:
                strict = r"(?:\)|\]|\s*[.:)–—-]+)" if label.isdigit() else r"\)"
                found = re.compile(rf"(?:^|(?<=[\s;,.]))[(\[]?{label}{strict}\s+(?=\S)", re.MULTILINE).search(
                    text, position, block.end
                )
                if not found or (not places and found.start() > start + 2):
                    break
                places.append((label, found.start(), found.end()))
                position = found.end()
            if len(places) >= 2:
                ends = [place[1] for place in places[1:]] + [block.end]
                cut = [trim(text, Span(first, end)) for (_, _, first), end in zip(places, ends, strict=True)]
                return [(label, (_without_tail(text, span),)) for (label, _, _), span in zip(places, cut, strict=True)]
    return []


def _without_tail(text: str, span: Span) -> Span:
    """An answer of a running key without the ";" or "," before the next."""
    while span.end - span.start > 1 and text[span.end - 1] in ";,":
        span = Span(span.start, span.end - 1)
    return span


def _unique(entries: list[tuple[str, tuple[Span, ...]]]) -> dict[str, tuple[Span, ...]]:
    """Entries by label; a label used twice says nothing."""
    counts: dict[str, int] = {}
    for label, _ in entries:
        counts[label] = counts.get(label, 0) + 1
    return {label: spans for label, spans in entries if counts[label] == 1 and spans}


def _labelled(page: Page, layout: Layout, indexes: list[int], *, stems: bool) -> list[tuple[str, tuple[Span, ...]]]:
    """(label, spans) of numbered blocks: list items, "1." paragraphs, table rows, headings that are a number."""
    blocks, text = layout.blocks, page.text
    entries: list[tuple[str, list[Span]]] = []
    outer = ""  # the number that letters belong to
    stem: list[Span] = []  # that number's own text
    common: list[Span] = []  # a text before letters that belong to no number
    skip_row = -1
    previous: Span | None = None
    headed = False  # the entry has a heading of its own, so all below belongs to it
    loose: list[tuple[int, Span]] = []  # prose after an entry; after the last one it belongs to the page again
    for index in indexes:
        block = blocks[index]
        span = block.span
        if block.row >= 0 and block.row == skip_row:
            marks = re.fullmatch(r"[\d./%\s]+(?:marks?|points?)?", text[span.start : span.end])
            if entries and not (marks and entries[-1][1]):
                entries[-1][1].append(span)
            continue
        label, body = "", span
        if block.kind == "heading" or block.row >= 0:
            cell = re.fullmatch(
                r"(?:(?:question|problem|exercise|task|item|part)\s*)?[(\[]?(\d{1,3}|[a-h]|\d{1,2}\s?\([a-h]\))[.):\]]?(?:\s*[\[(][^\])]{1,20}[\])])?",
                block.text.strip(),
                re.IGNORECASE,
            )
            if cell:
                label, body = cell[1], Span(span.end, span.end)
                skip_row = block.row if block.row >= 0 else -1
        if not label and block.kind != "heading":
            if block.label:
                label = block.label
                inner = LABEL.match(text, span.start, span.end)
                body = Span(inner.end(), span.end) if inner and inner["label"] == label else span
            elif found := (
                QUESTION_NUMBER.match(text, span.start, span.end) or LABEL.match(text, span.start, span.end)
            ):
                label, body = found["label"], Span(found.end(), span.end)
        label = re.sub(r"[\s().\]\[]", "", label).lower()
        if not label:
            if block.kind == "heading":
                if entries and not stems:
                    break
                outer, stem = "", []
                previous = None
                if entries:
                    entries.append(("", []))  # what follows a heading belongs to no number
                continue
            if entries:
                if entries[-1][0] == outer and outer:
                    stem.append(span)
                if (
                    entries[-1][1]
                    and not headed
                    and block.kind == "paragraph"
                    and len(text[span.start : span.end].split("\n")) == 1
                ):
                    loose.append((len(entries) - 1, span))
                entries[-1][1].append(span)
            previous = span if block.kind == "paragraph" and block.row < 0 else previous
            continue
        headed = block.kind == "heading"
        body = trim(text, body)
        spans = [body] if body.end > body.start else []
        if label.isdigit():
            outer, stem = label, list(spans)
            entries.append((label, spans))
        elif outer and ROMAN_OR_LETTER.fullmatch(label):
            entries.append((outer + label, [*stem, *spans] if stems else spans))
        else:
            if stems and ROMAN_OR_LETTER.fullmatch(label) and not entries and previous is not None:
                common = [previous]  # "The market for lamp oil has …", then (a), (b), (c)
            entries.append((label, [*common, *spans] if stems and ROMAN_OR_LETTER.fullmatch(label) else spans))
    for place, span in loose:
        if place == len(entries) - 1 or (not entries[place + 1][0]):
            entries[place][1].remove(span)
    return [(label, _trim_marks(text, merged(text, spans))) for label, spans in entries if label and spans]


QUESTION_NUMBER = re.compile(r"(?:question|problem|exercise|task|item|answer|solution|q|a)\s*\.?\s*(?P<label>\d{1,3}[a-h]?)\s*[.:)]\s*", re.IGNORECASE)  # fmt: skip


def _trim_marks(text: str, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Spans without "[4 marks]" at their end."""
    if not spans:
        return spans
    found = MARKS.search(text, spans[-1].start, spans[-1].end)
    return (*spans[:-1], Span(spans[-1].start, found.start())) if found and found.start() > spans[-1].start else spans
