"""Answers that a reader opens, and elements named answer or solution: each with the question before it."""

from webinstruct_assets.stages.pages.document import Layout, Page, Pair, joined, make_pair
from webinstruct_assets.stages.pages.questions import (
    HINT,
    KEY_HEADING,
    LABEL,
    OPENER,
    QUESTION_MARK,
    asks,
    question_like,
)
from webinstruct_assets.stages.pages.rules.asking import named_faq, page_is_faq, title_asks
from webinstruct_assets.stages.pages.rules.spans import (
    LABEL_CELL,
    LETTERED,
    merged,
    numbers,
    stem_of,
    without_label,
    without_question_label,
)

MIN_STEM = 40  # characters
MAX_STEPS_UP = 4  # from an answer block to the element that also holds its question


def opened(page: Page, layout: Layout) -> list[Pair]:
    """Answers in ``details`` or in elements named answer/solution, with the question before them."""
    containers = layout.containers
    answers = answer_containers(layout)
    page_faq = page_is_faq(page)
    asking = any(
        title_asks(
            joined(page.text, layout.spans(layout.kept(container.first, container.last))), page.language, hinted=True
        )
        for container in containers
        if container.tag == "summary"
    )
    pairs = []
    end_before = 0  # block after the answer before
    shared = -1  # block with the stem of the lettered parts being read
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
                if not question_like(label) and not (asking and (page_faq or named_faq(layout, index))):
                    continue
                question = summary
        spans = without_label(page.text, layout, body)
        if not spans:
            continue
        question = question or _question_before(layout, index, end_before, total)
        while len(question) > 1 and OPENER.fullmatch(layout.blocks[question[-1]].text.strip()):
            question = question[:-1]  # the button that opens it
        end_before = container.last
        if numbers(page.text, layout, body) > 1 and numbers(page.text, layout, question) > 1:
            continue  # a list of answers to a list of questions: see answer_key
        asked = without_question_label(page.text, layout, question)
        if asked:
            shared = _shared(page.text, layout, question[0], shared)
            stem = stem_of(layout, question[0]) or (layout.spans([shared]) if shared >= 0 else ())
            pairs.append(make_pair(page.text, rule, merged(page.text, [*stem, *asked]), spans))
    return pairs


def answer_containers(layout: Layout) -> list[int]:
    """Outermost elements that are one answer: ``details``, and elements named so."""
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


def _shared(text: str, layout: Layout, question: int, before: int) -> int:
    """The block that holds for a lettered part: the paragraph above part (a) or (i), ``before`` for those that follow."""
    blocks = layout.blocks
    label = LABEL.match(text, blocks[question].start, blocks[question].end)
    if not label or not LETTERED.fullmatch(label["label"]):
        return -1
    if label["label"] not in ("a", "i"):
        return before
    above = layout.kept(0, question)[-1:]
    if not above or blocks[above[0]].kind != "paragraph" or blocks[above[0]].row >= 0:
        return -1
    return above[0] if len(blocks[above[0]].text) >= MIN_STEM and not asks(blocks[above[0]].text) else -1


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


def _last_question(layout: Layout, before: list[int]) -> list[int]:
    """The last block that asks, with choices or code that follow it."""
    for back in range(1, min(6, len(before)) + 1):
        block = layout.blocks[before[-back]]
        if question_like(block.text):
            return before[-back:]
        if block.kind not in ("item", "code") and len(block.text) > 120:
            return []
    return []
