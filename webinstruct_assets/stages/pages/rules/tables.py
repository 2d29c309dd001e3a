"""Tables of questions and answers, and definition lists whose terms ask."""

import re

from webinstruct_assets.stages.pages.document import Layout, Page, Pair, Span, joined, make_pair
from webinstruct_assets.stages.pages.questions import question_like
from webinstruct_assets.stages.pages.rules.asking import named_faq, page_is_faq
from webinstruct_assets.stages.pages.rules.spans import merged, stem_of, without_label, without_question_label

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
            spans = without_question_label(page.text, layout, [cells[asked]])
            stem = stem_of(layout, cells[asked])
            pairs.append(make_pair(page.text, "question_table", merged(page.text, [*stem, *spans]), (answer.span,)))
    return pairs


def _table_of(layout: Layout, block: int) -> int:
    return next(
        (up for up in layout.ancestors(layout.blocks[block].container) if layout.containers[up].tag == "table"), -1
    )


def definition_list(page: Page, layout: Layout) -> list[Pair]:
    """``dt`` that asks, with the ``dd`` elements up to the next ``dt``; in a FAQ's list with one that asks, every ``dt``."""
    terms: dict[int, list[tuple[tuple[Span, ...], list[int]]]] = {}  # by the list they are in
    for container in layout.containers:
        if container.tag not in ("dt", "dd"):
            continue
        owner = next((up for up in layout.ancestors(container.parent) if layout.containers[up].tag == "dl"), 0)
        blocks = layout.kept(container.first, container.last)
        if container.tag == "dt" and blocks:
            terms.setdefault(owner, []).append((without_question_label(page.text, layout, blocks), []))
        elif blocks and terms.get(owner):
            terms[owner][-1][1].extend(blocks)
    faq = page_is_faq(page)
    pairs = []
    for owner, entries in terms.items():
        asking = [question_like(joined(page.text, question)) for question, _ in entries]
        whole = any(asking) and (faq or named_faq(layout, owner))
        for (question, body), asks in zip(entries, asking, strict=True):
            answer = without_label(page.text, layout, body)
            if question and answer and (asks or whole):
                pairs.append(make_pair(page.text, "definition_list", question, answer))
    return pairs
