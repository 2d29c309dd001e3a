"""Pairs that a page's structure shows without guessing.

A page and its layout come in; pairs with spans into ``Page.text`` go out, each with the name of its rule:

    json_ld, microdata   schema.org markup (see ``markup``)
    forum_accepted       first post of a thread and its accepted post
    details, answer_block  an opener ("Show answer") or an element named answer/solution, after its question
    definition_list      ``dt`` that asks, with its ``dd``
    marked               "Q: … A: …", "Question 3 … Solution …", "Example 2.1 … Answer: …"
    question_table       table whose header names a question column and an answer column
    answer_key           numbered questions, and answers with the same numbers below an "Answers" heading
    heading_question     headings that ask, with the text below them, on pages made of such headings

A rule that is not sure finds nothing: what it leaves is the LLM's. Earlier rules win where answers overlap.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from webinstruct_assets.stages.pages import markup
from webinstruct_assets.stages.pages.document import Layout, Page, Pair, Span, joined, make_pair, trim
from webinstruct_assets.stages.pages.questions import (
    ANSWER_INSIDE,
    ANSWER_MARK,
    HINT,
    KEY_HEADING,
    KEY_PREFIX,
    LABEL,
    MARKS,
    OPENER,
    QUESTION_MARK,
    asks,
    question_like,
)  # fmt: skip

MAX_PAIRS = 1_000  # of one rule on one page: comparing all spans with all grows with the square
MIN_QUESTION = 8  # characters
MAX_STEPS_UP = 4  # from an answer block to the element that also holds its question
WHEN = re.compile(r"\b\d{1,2}:\d{2}\b|\b(?:19|20)\d{2}\b|\bago\b", re.IGNORECASE)
ACCEPTED_NOTE = re.compile(
    r"(?:accepted|best|chosen|top|correct) (?:answer|solution|reply)|accepted by|marked as (?:the )?(?:answer|solution|best)|this helped|\bsolved by\b",
    re.IGNORECASE,
)


def find_pairs(page: Page, layout: Layout, read: Callable[[str], str]) -> tuple[list[Pair], list[tuple[str, str, str]]]:
    """All pairs that the rules find, in page order, and (rule, reason, detail) of markup that could not be used."""
    marked, rejects = markup.json_ld_questions(layout.json_ld)
    pairs, missing = markup.locate(page, marked, read)
    found = _Found(page)
    found.add(pairs)
    found.add(markup.microdata(page, layout))
    for rule in (forum_accepted, question_table, opened, definition_list, answer_key, marked_text, heading_question):
        found.add(rule(page, layout))
    return sorted(found.pairs, key=lambda pair: (pair.question_spans, pair.answer_spans)), [
        *rejects,
        *missing,
    ]


class _Found:
    """Accepted pairs; a candidate whose answer overlaps an accepted question or answer is left out."""

    def __init__(self, page: Page):
        self.pairs: list[Pair] = []
        self._page = page
        self._answers: list[Span] = []
        self._questions: list[Span] = []

    def add(self, candidates: list[Pair]) -> None:
        for pair in candidates[:MAX_PAIRS]:
            if len(pair.question.strip()) < MIN_QUESTION or not re.search(r"\w", pair.answer):
                continue
            if _overlap(pair.answer_spans, self._answers) or _overlap(pair.answer_spans, self._questions):
                continue
            if _overlap(pair.question_spans, self._answers) or _overlap(pair.question_spans, pair.answer_spans):
                continue
            self.pairs.append(pair)
            self._answers.extend(pair.answer_spans)
            self._questions.extend(pair.question_spans)


def _overlap(spans: tuple[Span, ...], others: tuple[Span, ...] | list[Span]) -> bool:
    return any(span.start < other.end and other.start < span.end for span in spans for other in others)


# -- forum threads -------------------------------------------------------------------------------------------


def forum_accepted(page: Page, layout: Layout) -> list[Pair]:
    """First post and the one accepted post of a thread."""
    containers = layout.containers
    posts = []
    for index, container in enumerate(containers):
        if (
            "post" in container.flags
            and container.tag in ("div", "article", "li", "section", "table", "tr", "blockquote")
            and (not any(up in posts for up in layout.ancestors(container.parent)))
        ):
            posts.append(index)
    posts = _siblings(layout, posts)
    if len(posts) < 2:
        return []
    accepted = [index for index in posts if _is_accepted(layout, index)]
    if len(accepted) != 1 or accepted[0] == posts[0]:
        return []
    question, answer = _post_body(layout, posts[0]), _post_body(layout, accepted[0])
    if not question or not answer:
        return []
    return [make_pair(page.text, "forum_accepted", layout.spans(question), layout.spans(answer))]


def _siblings(layout: Layout, posts: list[int]) -> list[int]:
    """The posts of the element that directly holds most of them."""
    groups: dict[int, list[int]] = {}
    for index in posts:
        groups.setdefault(layout.containers[index].parent, []).append(index)
    return max(groups.values(), key=len, default=[])


def _is_accepted(layout: Layout, index: int) -> bool:
    container = layout.containers[index]
    inside = [
        child
        for child in layout.containers[index + 1 :]
        if child.first >= container.first and child.last <= container.last and child.first < child.last
    ]
    if "accepted" in container.flags or any("accepted" in child.flags for child in inside):
        return True
    return any(
        len(block.text) < 60 and ACCEPTED_NOTE.search(block.text)
        for block in layout.blocks[container.first : container.last]
    )


def _post_body(layout: Layout, index: int) -> list[int]:
    container = layout.containers[index]
    body = []
    for block_index in layout.kept(container.first, container.last):
        block = layout.blocks[block_index]
        meta = any("meta" in layout.containers[up].flags for up in layout.ancestors(block.container) if up > index)
        note = len(block.text) < 60 and (
            ACCEPTED_NOTE.search(block.text) or (WHEN.search(block.text) and block.text[-1] not in ".?!:")
        )
        if not meta and not note:
            body.append(block_index)
    return body


# -- answers that open, elements named answer -----------------------------------------------------------------


def opened(page: Page, layout: Layout) -> list[Pair]:
    """Answers in ``details`` or in elements named answer/solution, with the question before them."""
    containers = layout.containers
    answers = _answer_containers(layout)
    pairs = []
    end_before = 0  # block after the answer before
    total = len(layout.kept(0, len(layout.blocks)))
    for index in answers:
        container = containers[index]
        body = layout.kept(container.first, container.last)
        rule = "details" if container.tag == "details" else "answer_block"
        question: list[int] = []
        if container.tag == "details":
            summary = [
                block
                for block in body
                if any(
                    containers[up].tag == "summary"
                    for up in layout.ancestors(layout.blocks[block].container)
                    if up > index
                )
            ]
            body = [block for block in body if block not in summary]
            label = joined(page.text, layout.spans(summary)).strip()
            if HINT.match(label):
                continue
            if not OPENER.fullmatch(label):
                question = summary if question_like(label) else []
                if not question:
                    continue
        spans = _without_label(page.text, layout, body)
        if not spans:
            continue
        question = question or _question_before(layout, index, end_before, total)
        end_before = container.last
        if _numbers(page.text, layout, body) > 1 and _numbers(page.text, layout, question) > 1:
            continue  # a list of answers to a list of questions: see answer_key
        asked = _without_question_label(page.text, layout, question)
        if asked:
            stem = _stem(page.text, layout, question[0])
            pairs.append(make_pair(page.text, rule, _merged(page.text, [*stem, *asked]), spans))
    return pairs


def _stem(text: str, layout: Layout, question: int) -> tuple[Span, ...]:
    """The text that a lettered list or table of questions shares: the paragraph right before it, or its "given" element."""
    containers, blocks = layout.containers, layout.blocks
    owner = next(
        (up for up in layout.ancestors(blocks[question].container) if containers[up].tag in ("ol", "ul", "table")), -1
    )
    if owner < 0:
        return ()
    before = layout.kept(0, containers[owner].first)
    if (
        not before
        or blocks[before[-1]].kind != "paragraph"
        or blocks[before[-1]].row >= 0
        or asks(blocks[before[-1]].text)
    ):
        return ()
    stem = before[-1]
    named = any("stem" in containers[up].flags for up in layout.ancestors(blocks[stem].container))
    lettered = LETTERED.fullmatch(blocks[question].label) is not None or any(
        LETTERED.fullmatch(blocks[cell].text.strip(" ()."))
        for cell in layout.kept(containers[owner].first, question)[-2:]
    )
    return layout.spans([stem]) if named or (lettered and len(blocks[stem].text) >= 40) else ()


LETTERED = re.compile(r"[a-h]|[ivx]{1,4}")


def _answer_containers(layout: Layout) -> list[int]:
    containers = layout.containers
    marked = [
        index for index, container in enumerate(containers)
        if (container.tag == "details" or ("answer" in container.flags and "question" not in container.flags and container.tag not in ("body", "main", "table")))
        and layout.kept(container.first, container.last)
    ]  # fmt: skip
    inner: dict[int, int] = {}
    for index in marked:
        for up in layout.ancestors(containers[index].parent):
            inner[up] = inner.get(up, 0) + 1
    whole: list[int] = []
    for index in marked:
        if inner.get(index, 0) > 1 or any(up in whole for up in layout.ancestors(containers[index].parent)):
            continue  # a list of answers, or a part of one
        whole.append(index)
    return whole


def _question_before(layout: Layout, index: int, after: int, total: int) -> list[int]:
    """Blocks of the question that an answer block follows; empty when that is not clear."""
    containers, blocks = layout.containers, layout.blocks
    start = containers[index].first
    for step, up in enumerate(layout.ancestors(containers[index].parent)):
        if step > MAX_STEPS_UP:
            return []
        container = containers[up]
        before = [
            block
            for block in layout.kept(max(container.first, after), start)
            if (blocks[block].row < 0 or not LABEL_CELL.fullmatch(blocks[block].text))
            and not any(containers[outer].tag == "details" for outer in layout.ancestors(blocks[block].container))
        ]
        while before and blocks[before[-1]].kind == "heading" and KEY_HEADING.fullmatch(blocks[before[-1]].text):
            before.pop()  # a "Solution" heading right above
        headings = [place for place, block in enumerate(before) if blocks[block].kind == "heading"]
        if headings:
            rest = before[headings[-1] + 1 :]
            before = rest or ([before[-1]] if question_like(blocks[before[-1]].text) else [])
        if not before:
            if headings:
                return []
            continue
        marks = [place for place, block in enumerate(before) if QUESTION_MARK.match(blocks[block].text)]
        if marks:
            return before[marks[-1] :]
        tight = len(layout.kept(container.first, container.last)) <= max(6, total // 4) and up > 0
        if tight or headings:
            chosen = before if len(before) <= 8 else []
        else:
            chosen = _last_question(layout, before)
        return (
            chosen
            if any(question_like(blocks[block].text) for block in chosen) or "question" in container.flags
            else []
        )
    return []


LABEL_CELL = re.compile(r"\(?(?:\d{1,3}|[a-h]|[ivx]{1,4})[.)]?\)?")


def _last_question(layout: Layout, before: list[int]) -> list[int]:
    """The last block that asks, with choices or code that follow it."""
    for back in range(1, min(6, len(before)) + 1):
        block = layout.blocks[before[-back]]
        if question_like(block.text):
            return before[-back:]
        if block.kind not in ("item", "code") and len(block.text) > 120:
            return []
    return []


def _without_label(text: str, layout: Layout, body: list[int]) -> tuple[Span, ...]:
    """Spans of an answer without a leading "Answer:" or "Solution" of its own."""
    while body:
        span = layout.blocks[body[0]].span
        found = ANSWER_MARK.match(text, span.start, span.end)
        if not found and OPENER.fullmatch(text, span.start, span.end) and span.end - span.start < 40:
            body = body[1:]
            continue
        if not found:
            break
        if found.end() >= span.end:
            body = body[1:]
            continue
        spans = layout.spans(body)
        return (Span(found.end(), spans[0].end), *spans[1:])
    return layout.spans(body)


def _without_question_label(text: str, layout: Layout, body: list[int]) -> tuple[Span, ...]:
    """Spans of a question without "Question 3." or "2)" before it."""
    spans = list(layout.spans(body))
    if not spans:
        return ()
    first = spans[0]
    for _ in range(2):
        found = QUESTION_MARK.match(text, first.start, first.end) or LABEL.match(text, first.start, first.end)
        if not found or not found[0]:
            break
        first = trim(text, Span(found.end(), first.end))
    spans[0] = first
    return tuple(span for span in spans if span.end > span.start)


# -- tables of questions and answers -------------------------------------------------------------------------

QUESTION_COLUMN = re.compile(
    r"(?:the\s+)?(?:question|problem|task|exercise|item|frage|aufgabe|pregunta)s?", re.IGNORECASE
)
ANSWER_COLUMN = re.compile(
    r"(?:(?:the|our|model|correct|worked|full|expected)\s+)*(?:answer|solution|result|working|reply|antwort|lösung|respuesta)s?",
    re.IGNORECASE,
)


def question_table(page: Page, layout: Layout) -> list[Pair]:
    """Rows of a table whose first row names a column of questions and a column of answers."""
    rows: dict[int, list[int]] = {}
    for index in layout.kept(0, len(layout.blocks)):
        if layout.blocks[index].row >= 0:
            rows.setdefault(layout.blocks[index].row, []).append(index)
    pairs = []
    asked = answered = width = -1
    table = -1
    for cells in rows.values():
        texts = [layout.blocks[index].text.strip().rstrip(":") for index in cells]
        owner = _table_of(layout, cells[0])
        columns = [
            [place for place, text in enumerate(texts) if column.fullmatch(text)]
            for column in (QUESTION_COLUMN, ANSWER_COLUMN)
        ]
        if all(len(found) == 1 for found in columns):
            (asked,), (answered,) = columns
            width, table = len(cells), owner
            continue
        if owner != table or len(cells) != width:
            continue
        question, answer = layout.blocks[cells[asked]], layout.blocks[cells[answered]]
        if len(question.text.split()) >= 3:
            spans = _without_question_label(page.text, layout, [cells[asked]])
            stem = _stem(page.text, layout, cells[asked])
            pairs.append(make_pair(page.text, "question_table", _merged(page.text, [*stem, *spans]), (answer.span,)))
    return pairs


def _table_of(layout: Layout, block: int) -> int:
    return next(
        (up for up in layout.ancestors(layout.blocks[block].container) if layout.containers[up].tag == "table"), -1
    )


# -- definition lists ----------------------------------------------------------------------------------------


def definition_list(page: Page, layout: Layout) -> list[Pair]:
    """``dt`` that asks, with the ``dd`` elements up to the next ``dt``."""
    pairs = []
    term: tuple[Span, ...] = ()
    terms: list[tuple[tuple[Span, ...], list[int], int]] = []
    for index, container in enumerate(layout.containers):
        blocks = layout.kept(container.first, container.last)
        if container.tag == "dt" and blocks:
            term = _without_question_label(page.text, layout, blocks)
            terms.append((term, [], container.parent))
        elif container.tag == "dd" and blocks and terms and (terms[-1][2] in set(layout.ancestors(index))):
            terms[-1][1].extend(blocks)
    for question, answer, _ in terms:
        if question and answer and question_like(joined(page.text, question)):
            pairs.append(make_pair(page.text, "definition_list", question, _without_label(page.text, layout, answer)))
    return [pair for pair in pairs if pair.answer]


# -- "Question 3 … Solution …" -----------------------------------------------------------------------------


@dataclass
class _Piece:
    """A stretch of a block between line breaks."""

    block: int
    span: Span
    text: str


@dataclass
class _Open:
    """A question being read, then its answer."""

    word: str
    number: str
    block: int
    level: int
    question: list[Span] = field(default_factory=list)
    answer: list[Span] = field(default_factory=list)
    answering: bool = False
    answer_block: int = -1
    answer_level: int = 0
    scope: int = -1


def _pieces(page: Page, layout: Layout) -> Iterator[_Piece]:
    for index, block in enumerate(layout.blocks):
        if block.start < 0:
            continue
        if block.kind == "code" or "\n" not in page.text[block.start : block.end]:
            yield _Piece(index, block.span, page.text[block.start : block.end])
            continue
        start = block.start
        for line in page.text[block.start : block.end].split("\n"):
            yield _Piece(index, Span(start, start + len(line)), line)
            start += len(line) + 1


def marked_text(page: Page, layout: Layout) -> list[Pair]:
    """Questions and answers that carry their labels in the text."""
    pairs: list[Pair] = []
    current: _Open | None = None
    pieces = list(_pieces(page, layout))
    total = len(layout.kept(0, len(layout.blocks)))

    def close() -> None:
        nonlocal current
        if current and current.question and current.answer:
            pairs.append(
                make_pair(
                    page.text,
                    "marked",
                    _merged(page.text, current.question),
                    _merged(page.text, current.answer),
                )
            )
        current = None

    for piece in pieces:
        block = layout.blocks[piece.block]
        text, span = piece.text, piece.span
        mark = QUESTION_MARK.match(text) if block.kind != "code" else None
        if mark and (mark["q"] or mark["number"] or (mark["end"] and mark["end"][0] in ".:" and len(mark[0]) < 40)):
            close()
            current = _Open((mark["word"] or "q").lower(), (mark["number"] or mark["qn"] or "").strip(), piece.block,
                            block.level if block.kind == "heading" else 0)  # fmt: skip
            current.scope = _scope(layout, block.container, total)
            rest = trim(page.text, Span(span.start + mark.end(), span.end))
            if rest.end <= rest.start:
                continue
            if block.kind == "heading" and not question_like(page.text[rest.start : rest.end]):
                continue  # "Exercise 2: limits" names the exercise
            _read(page.text, current, rest, piece.block)
            continue
        if current is None:
            continue
        answer = ANSWER_MARK.match(text) if block.kind != "code" else None
        if answer and not KEY_ONLY.fullmatch(text.strip()):
            if answer.groupdict().get("number") and current.number and answer["number"] != current.number.lstrip("#№ "):
                close()
                continue
            if current.answering and block.kind != "heading" and current.answer:
                _extend(layout, current, piece, close)
                continue
            current.answering = True
            current.answer_block, current.answer_level = (
                piece.block,
                block.level if block.kind == "heading" else 0,
            )
            rest = trim(page.text, Span(span.start + answer.end(), span.end))
            if rest.end > rest.start and not OPENER.fullmatch(page.text[rest.start : rest.end]):
                current.answer.append(rest)
            continue
        if block.kind == "heading" and not (
            current.answering and current.answer_level and block.level > current.answer_level
        ):
            if current.level and not current.question and block.level > current.level:
                current.question.append(span)
                continue
            close()
            continue
        if current.answering:
            _extend(layout, current, piece, close)
        elif piece.block - current.block > 12 or (
            current.scope >= 0 and current.scope not in layout.ancestors(block.container)
        ):
            close()
        else:
            _read(page.text, current, span, piece.block)
    close()
    return pairs


KEY_ONLY = re.compile(r"(?:answers|solutions)\b.{0,40}", re.IGNORECASE)
CONTINUES = re.compile(
    r"(?-i:[a-z=+$−-])|\\|(?:so|hence|thus|therefore|then|since|because|this gives|that gives|now|finally|we)\b",
    re.IGNORECASE,
)


def _scope(layout: Layout, container: int, total: int) -> int:
    """The element around a question that belongs to it alone; -1 on flat pages."""
    found = -1
    for up in layout.ancestors(container):
        element = layout.containers[up]
        size = len(layout.kept(element.first, element.last))
        if up == 0 or element.tag in ("main", "article", "body") or size > max(8, 0.4 * total):
            break
        if size > 1 and element.tag in ("div", "section", "li", "fieldset", "blockquote", "td", "dd"):
            found = up
            break
    return found


def _read(text: str, current: _Open, span: Span, block: int) -> None:
    """Adds text to the question, or from an "Answer:" inside it on to the answer."""
    inside = ANSWER_INSIDE.search(text, span.start, span.end)
    if not inside:
        current.question.append(span)
        return
    question = trim(text, Span(span.start, inside.start()))
    if question.end > question.start:
        current.question.append(question)
    answer = trim(text, Span(inside.end(), span.end))
    opened_by = re.search(r"[(\[]", inside[0])
    if opened_by and text[answer.end - 1] in ")]":
        answer = trim(text, Span(answer.start, answer.end - 1))
    current.answering, current.answer_block = True, block
    if answer.end > answer.start:
        current.answer.append(answer)


def _extend(layout: Layout, current: _Open, piece: _Piece, close: Callable[[], None]) -> None:
    """Adds a block to the answer, or ends it."""
    block = layout.blocks[piece.block]
    if current.scope >= 0 and current.scope in layout.ancestors(layout.blocks[current.answer_block].container):
        if current.scope not in layout.ancestors(block.container):
            close()
            return
    elif (
        current.word == "example"
        and current.answer
        and not current.answer_level
        and piece.block != current.answer_block
    ):
        # Flat textbook prose goes on after an example; only what plainly continues it belongs to it.
        if block.kind not in ("code", "item") and not CONTINUES.match(piece.text):
            close()
            return
    elif current.answer and not current.answer_level and piece.block != current.answer_block and current.word == "q":
        same = layout.blocks[current.answer_block].container
        alone = same not in layout.ancestors(block.container) or layout.containers[same].tag in ("body", "main")
        if alone and block.kind not in ("code", "item"):
            close()
            return
    current.answer.append(piece.span)


def _merged(text: str, spans: list[Span]) -> tuple[Span, ...]:
    """Spans with neighbouring ones joined: only white space and list markers may stand between."""
    merged: list[Span] = []
    for span in spans:
        if merged and re.fullmatch(r"\s*(?:\n\s*(?:[-*]|\d+\.|#{1,6})\s+|\n| \| )?", text[merged[-1].end : span.start]):
            merged[-1] = Span(merged[-1].start, span.end)
        else:
            merged.append(span)
    return tuple(merged)


# -- answers below, by number -------------------------------------------------------------------------------

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
        for index in _answer_containers(layout):
            body = layout.kept(layout.containers[index].first, layout.containers[index].last)
            if _numbers(text, layout, body) > 1:
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


def _numbers(text: str, layout: Layout, indexes: list[int]) -> int:
    """How many blocks carry a number of their own."""
    found = set()
    for index in indexes:
        block = layout.blocks[index]
        label = LABEL.match(text, block.start, block.end)
        if block.label or (label and label["label"].isdigit()):
            found.add(block.label or label["label"] if label else block.label)
    return len(found)


def _with_choices(
    text: str, questions: list[tuple[str, tuple[Span, ...]]], given: dict[str, tuple[Span, ...]]
) -> list[tuple[str, tuple[Span, ...]]]:
    """Questions whose lettered parts have no answers of their own take them in: they are choices."""
    whole: list[tuple[str, tuple[Span, ...]]] = []
    for label, spans in questions:
        number = re.match(r"\d+", label)
        if number and label != number[0] and label not in given and whole and whole[-1][0] == number[0]:
            known = whole[-1][1]
            whole[-1] = (number[0], _merged(text, [*known, *(span for span in spans if not _overlap((span,), known))]))
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
                r"(?:(?:question|problem|exercise|task|item|part)\s*)?[(\[]?(\d{1,3}|[a-h]|\d{1,2}\s?\([a-h]\))[.):\]]?",
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
                if entries[-1][1] and block.kind == "paragraph" and len(text[span.start : span.end].split("\n")) == 1:
                    loose.append((len(entries) - 1, span))
                entries[-1][1].append(span)
            previous = span if block.kind == "paragraph" and block.row < 0 else previous
            continue
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
    return [(label, _trim_marks(text, _merged(text, spans))) for label, spans in entries if label and spans]


QUESTION_NUMBER = re.compile(r"(?:question|problem|exercise|task|item|answer|solution|q|a)\s*\.?\s*(?P<label>\d{1,3}[a-h]?)\s*[.:)]\s*", re.IGNORECASE)  # fmt: skip


def _trim_marks(text: str, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Spans without "[4 marks]" at their end."""
    if not spans:
        return spans
    found = MARKS.search(text, spans[-1].start, spans[-1].end)
    return (*spans[:-1], Span(spans[-1].start, found.start())) if found and found.start() > spans[-1].start else spans


# -- headings that ask --------------------------------------------------------------------------------------

FAQ_HINT = re.compile(r"\bfaqs?\b|frequently asked|questions? (?:and|&) answers?|\bq\s?&\s?a\b|häufige fragen|preguntas frecuentes|foire aux questions", re.IGNORECASE)  # fmt: skip


def heading_question(page: Page, layout: Layout) -> list[Pair]:
    """Headings that ask with the text below them, where most headings of that level ask."""
    blocks = layout.blocks
    kept = layout.kept(0, len(blocks))
    by_level: dict[int, list[int]] = {}
    for place, index in enumerate(kept):
        if blocks[index].kind == "heading":
            by_level.setdefault(blocks[index].level, []).append(place)
    hinted = FAQ_HINT.search(f"{page.title} {page.url}") is not None
    pairs = []
    for level, places in by_level.items():
        asking = [
            place
            for place in places
            if blocks[kept[place]].text.rstrip(" \"'”").endswith("?") and asks(blocks[kept[place]].text)
        ]
        enough = len(asking) >= (2 if level > 1 else 3) or (hinted and asking and level > 1)
        if not enough or len(asking) < (0.4 if hinted else 0.6) * len(places):
            continue
        for place in asking:
            body = []
            own = blocks[kept[place]]
            for index in kept[place + 1 :]:
                if blocks[index].kind == "heading" and blocks[index].level <= level:
                    break
                body.append(index)
            body = _within_section(layout, own.container, body)
            answer = layout.spans(body)
            if body and re.search(r"\w\w", joined(page.text, answer)) and len(own.text.split()) >= 3:
                question = _without_question_label(page.text, layout, [kept[place]])
                pairs.append(
                    make_pair(page.text, "heading_question", question, _without_label(page.text, layout, body))
                )
    return [pair for pair in pairs if pair.answer and pair.question]


def _within_section(layout: Layout, container: int, body: list[int]) -> list[int]:
    """The part of ``body`` inside the section of its heading, where the heading has a section with text of its own."""
    for up in layout.ancestors(container):
        inside = [index for index in body if up in layout.ancestors(layout.blocks[index].container)]
        if inside:
            return body[: body.index(inside[-1]) + 1] if up > 0 else body
    return body
