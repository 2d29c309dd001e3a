"""Pairs that a page's markup and structure show without guessing.

A page and its layout come in; pairs with spans into ``Page.text`` go out, each with the name of its rule:

    json_ld, microdata     schema.org markup, RDFa included (``pages.markup``)
    forum_accepted         first post of a thread and its accepted post (``threads``)
    question_table         table whose header names a question column and an answer column (``tables``)
    accordion              titles that open panels, on pages or in groups that ask (``accordions``)
    details, answer_block  an opener ("Show answer") or an element named answer/solution, after its question (``openers``)
    definition_list        ``dt`` that asks, with its ``dd`` (``tables``)
    answer_key             numbered questions, and answers with the same numbers below an "Answers" heading (``answer_key``)
    marked                 "Q: … A: …", "Question 3 … Solution …", "Example 2.1 … Answer: …" (``marked``)
    heading_question       headings that ask, with the text below them, where such headings are the rule (``headings``)
    bold_question          the same with bold lines for headings (``headings``)

A rule that is not sure finds nothing: what it leaves is the LLM's. Earlier rules win where spans overlap.
"""

import re
from collections.abc import Callable, Sequence

from webinstruct_assets.stages.pages import markup
from webinstruct_assets.stages.pages.document import Layout, Page, Pair, Span
from webinstruct_assets.stages.pages.rules.accordions import accordion
from webinstruct_assets.stages.pages.rules.answer_key import answer_key
from webinstruct_assets.stages.pages.rules.headings import bold_question, heading_question
from webinstruct_assets.stages.pages.rules.marked import marked_text
from webinstruct_assets.stages.pages.rules.openers import opened
from webinstruct_assets.stages.pages.rules.spans import overlap
from webinstruct_assets.stages.pages.rules.tables import definition_list, question_table
from webinstruct_assets.stages.pages.rules.threads import forum_accepted

NAMES = (
    "json_ld", "microdata", "forum_accepted", "question_table", "accordion", "details", "answer_block", "definition_list",
    "answer_key", "marked", "heading_question", "bold_question",
)  # fmt: skip
STRUCTURE = (
    question_table, accordion, opened, definition_list, answer_key, marked_text, heading_question, bold_question,
)  # fmt: skip
MAX_PAIRS = 1_000  # of one rule on one page: comparing all spans with all grows with the square


def find_pairs(page: Page, layout: Layout, read: Callable[[str], str]) -> tuple[list[Pair], list[markup.Reject]]:
    """All pairs that the rules find, in page order, and (rule, reason, detail) of markup that could not be used.

    ``read`` turns an HTML fragment (an answer in JSON-LD) into text as the page's own text was made. A page about
    one question (a thread) gives that pair alone: what its other posts and boxes ask is talk about the same.
    """
    marked, rejects = markup.json_ld_questions(layout.json_ld)
    pairs, missing = markup.locate(page, marked, read)
    found = _Found()
    found.add(pairs)
    found.add(markup.microdata(page, layout))
    rejects = [*rejects, *missing]
    if not (found.pairs and markup.is_thread(layout)):
        found.add(forum_accepted(page, layout))
        if not any(pair.rule == "forum_accepted" for pair in found.pairs):
            for rule in STRUCTURE:
                found.add(rule(page, layout))
    return sorted(found.pairs, key=lambda pair: (pair.question_spans, pair.answer_spans)), rejects


class _Found:
    """Accepted pairs; a candidate whose spans overlap an accepted question or answer is left out.

    Questions may share text (a stem), answers may not.
    """

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self._answers: list[Span] = []
        self._questions: list[Span] = []

    def add(self, candidates: Sequence[Pair]) -> None:
        known = list(self._questions)
        for pair in candidates[:MAX_PAIRS]:
            if not re.search(r"\w\w", pair.question) or not re.search(r"\w", pair.answer):
                continue
            if overlap(pair.answer_spans, self._answers) or overlap(pair.answer_spans, self._questions):
                continue
            if overlap(pair.question_spans, self._answers) or overlap(pair.question_spans, pair.answer_spans):
                continue
            if overlap(pair.question_spans, known):
                continue  # another rule has answered it
            self.pairs.append(pair)
            self._answers.extend(pair.answer_spans)
            self._questions.extend(pair.question_spans)
