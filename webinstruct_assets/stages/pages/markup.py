"""Pairs that a site marks up itself: schema.org in JSON-LD, microdata and RDFa.

A page's layout comes in; pairs with their spans go out. JSON-LD says what the pairs are but not where they
stand, so its text is looked up on the page; text that is not there is reported (``markup_not_on_page``).
Vocabulary: https://schema.org/QAPage, https://schema.org/FAQPage, https://schema.org/Quiz; a ``Question`` counts
wherever it stands (``LearningResource``, ``Quiz``, ``hasPart``, ``@graph``).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from webinstruct_assets.core.foreign_json import read_json
from webinstruct_assets.stages.pages.document import Layout, Page, Pair, Span, make_pair

MAX_QUESTIONS = 500
MAX_CHOICES = 1_500  # letters and digits after a question within which its choices begin
MIN_SHARE = 0.8  # of an answer's characters that must stand on the page
TEX_STYLE = re.compile(r"\\[A-Za-z]+")  # \\times, \\mathrm: the same text is marked up without TeX
ALNUM = re.compile(r"[^\W_]+")
BLOCK_END = re.compile(r"</(?:p|li|div|h\d|tr|ul|ol|pre|blockquote)>|<br\s*/?>|\n+", re.IGNORECASE)

Reject = tuple[str, str, str]


class Finder:
    """Looks up text on a page by its letters and digits alone: white space, case, markup marks do not count."""

    def __init__(self, text: str):
        self._text = text
        self._offsets: list[int] = []
        pieces: list[str] = []
        plain = TEX_STYLE.sub(lambda found: " " * len(found[0]), text)
        for found in ALNUM.finditer(plain):
            for position, char in enumerate(found[0], found.start()):
                lowered = char.lower()
                pieces.append(lowered)
                self._offsets.extend([position] * len(lowered))
        self.stream = "".join(pieces)

    @staticmethod
    def key(text: str) -> str:
        """The letters and digits of ``text``, lower-case."""
        return "".join(found[0].lower() for found in ALNUM.finditer(TEX_STYLE.sub(" ", text)))

    def find(self, key: str, start: int = 0) -> int:
        """Position of ``key`` in the stream, -1 when it is not there."""
        return self.stream.find(key, start) if key else -1

    def span(self, start: int, end: int) -> Span:
        """Where a range of the stream stands on the page, with the punctuation that clings to it."""
        first, last = self._offsets[start], self._offsets[end - 1] + 1
        while first and not self._text[first - 1].isspace() and not self._text[first - 1].isalnum():
            first -= 1
        while last < len(self._text) and not self._text[last].isspace() and not self._text[last].isalnum():
            last += 1
        return Span(first, last)


@dataclass(frozen=True)
class Marked:
    """A question of JSON-LD with its best answer, as HTML or text; ``choices`` of a multiple-choice question."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()


def json_ld_questions(sources: list[str]) -> tuple[list[Marked], list[Reject]]:
    """Questions with answers in JSON-LD scripts, and what could not be read."""
    found: list[Marked] = []
    rejects: list[Reject] = []
    for source in sources:
        try:
            data = read_json(source.strip().rstrip(";"), strict=False)
        except ValueError as error:
            rejects.append(("json_ld", "markup_unreadable", str(error)[:200]))
            continue
        for item in _items(data):
            if not _is_question(item):
                continue
            name, text = _string(item.get("name")), _string(item.get("text"))
            answer, choices = _best_answer(item), _choices(item)
            only_text = not name or _same_start(name, text) or (choices and text and len(name.split()) < 3)  # "Q1"
            question = text if only_text else f"{name}\n{text}".strip()
            if question and answer and len(found) < MAX_QUESTIONS:
                found.append(Marked(question, answer, choices))
    return found, rejects


def _same_start(name: str, text: str) -> bool:
    key = Finder.key(name)
    return Finder.key(text).startswith(key[: max(len(key) - 3, 1)]) if text else False


def _is_question(item: dict[str, Any]) -> bool:
    types = item.get("@type")
    return any(
        re.split(r"[/:#]", str(kind))[-1] == "Question" for kind in (types if isinstance(types, list) else [types])
    )


def _choices(item: dict[str, Any]) -> tuple[str, ...]:
    """All choices of a multiple-choice question; () for other questions."""
    kind = _string(item.get("eduQuestionType")).lower()
    if "choice" not in kind and "checkbox" not in kind:
        return ()
    offered = [*_as_list(item.get("suggestedAnswer")), *_as_list(item.get("acceptedAnswer"))]
    return tuple(text for answer in offered if (text := _string(answer.get("text"))))


def _items(data: Any) -> Iterator[dict[str, Any]]:
    queue, steps = [data], 0
    while queue and steps < 20_000:
        steps += 1
        item = queue.pop(0)
        if isinstance(item, dict):
            yield item
            queue.extend(value for value in item.values() if isinstance(value, dict | list))
        elif isinstance(item, list):
            queue.extend(item)


def _string(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_string(part) for part in value)
    return value.strip() if isinstance(value, str) else ""


def _best_answer(item: dict[str, Any]) -> str:
    """The accepted answer; without one, the suggested answer with most votes (at least one), or the only one."""
    if isinstance(item.get("acceptedAnswer"), str):
        return str(item["acceptedAnswer"]).strip()
    for answer in _as_list(item.get("acceptedAnswer")):
        if text := _string(answer.get("text")):
            return text
    suggested = [answer for answer in _as_list(item.get("suggestedAnswer")) if _string(answer.get("text"))]
    if not suggested:
        return ""
    best = max(suggested, key=_votes)
    return _string(best.get("text")) if _votes(best) > 0 or len(suggested) == 1 else ""


def _as_list(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, dict)]


def _votes(answer: dict[str, Any]) -> float:
    try:
        return float(answer.get("upvoteCount") or 0)
    except (TypeError, ValueError):
        return 0.0


def locate(page: Page, marked: list[Marked], read: Callable[[str], str]) -> tuple[list[Pair], list[Reject]]:
    """The pairs of JSON-LD as spans of the page. ``read`` turns an HTML fragment into text as pages are read."""
    if not marked:
        return [], []
    finder = Finder(page.text)
    pairs: list[Pair] = []
    rejects: list[Reject] = []
    for entry in marked:
        question, answer = _keys(entry.question, read), _keys(entry.answer, read)
        asked = _place(finder, question, 0)
        if asked is None:
            rejects.append(("json_ld", "markup_not_on_page", f"question: {entry.question[:120]}"))
            continue
        whole = _with_choices(finder, asked, entry.choices, read)
        answered = _place(finder, answer, whole.end) or _place(finder, answer, asked.end) or _place(finder, answer, 0)
        if answered is None:
            rejects.append(("json_ld", "markup_not_on_page", f"answer: {entry.answer[:120]}"))
            continue
        if answered.start >= whole.end:
            asked = whole
        while (later := _place(finder, question, asked.end)) and later.end <= answered.start:
            asked = later  # a table of contents has the question too
        pairs.append(make_pair(page.text, "json_ld", asked.spans, answered.spans))
    return pairs, rejects


class _Placed(NamedTuple):
    """Where a text stands: spans of the page, and start and end in the finder's stream."""

    spans: list[Span]
    start: int
    end: int


def _with_choices(finder: Finder, asked: _Placed, choices: tuple[str, ...], read: Callable[[str], str]) -> _Placed:
    """A question and the choices right below it; the question alone where they are not all there."""
    ends = []
    for choice in choices:
        found = _place(finder, _keys(choice, read), asked.end)
        if found is None or found.start > asked.end + MAX_CHOICES:
            return asked
        ends.append(found.end)
    if not ends:
        return asked
    return _Placed(
        [*asked.spans[:-1], Span(asked.spans[-1].start, finder.span(asked.start, max(ends)).end)],
        asked.start,
        max(ends),
    )


def _keys(source: str, read: Callable[[str], str]) -> list[str]:
    """Keys of a marked-up text's blocks."""
    pieces = [
        read(piece) if "<" in piece or "&" in piece or "\\" in piece or "$" in piece else piece
        for piece in BLOCK_END.split(source)
    ]
    return [key for piece in pieces if (key := Finder.key(piece))]


def _place(finder: Finder, keys: list[str], start: int) -> _Placed | None:
    """Where ``keys`` stand in order from ``start`` on; None when too little of them is there."""
    if not keys:
        return None
    whole = "".join(keys)
    at = finder.find(whole, start)
    if at >= 0:
        return _Placed([finder.span(at, at + len(whole))], at, at + len(whole))
    spans: list[Span] = []
    found, position, first, end_before = 0, start, -1, -1
    for key in keys:
        at = finder.find(key, position)
        if at < 0:
            continue
        first = at if first < 0 else first
        found, position = found + len(key), at + len(key)
        span = finder.span(at, position)
        if spans and 0 <= at - end_before <= 3:  # only a list number or a marker stands between
            spans[-1] = Span(spans[-1].start, span.end)
        else:
            spans.append(span)
        end_before = position
    return _Placed(spans, first, position) if found >= MIN_SHARE * len(whole) else None


# -- microdata and RDFa -------------------------------------------------------------------------------------


def microdata(page: Page, layout: Layout) -> list[Pair]:
    """Pairs of ``Question`` elements with their accepted (else only, else most voted) answer's ``text``."""
    containers = layout.containers
    below: dict[int, list[int]] = {}
    for index, container in enumerate(containers):
        if container.role:
            scope = next((up for up in layout.ancestors(container.parent) if containers[up].role == "Question"), -1)
            if scope >= 0:
                below.setdefault(scope, []).append(index)
    pairs = []
    for parts in below.values():
        answers = [i for i in parts if containers[i].role in ("acceptedAnswer", "suggestedAnswer")]
        answers = answers or [i for i in parts if containers[i].role == "Answer"]
        accepted = [i for i in answers if containers[i].role == "acceptedAnswer"]
        chosen = accepted[:1] or (answers if len(answers) == 1 else _most_voted(layout, answers, parts))
        asked = [i for i in parts if containers[i].role in ("name", "text") and not _within(layout, i, answers)]
        texts = [i for i in asked if containers[i].role == "text"]
        names = [i for i in asked if containers[i].role == "name"]
        if not chosen or not asked:
            continue
        inner = [i for i in parts if containers[i].role == "text" and _within(layout, i, chosen)]
        answer = layout.spans(_blocks(layout, inner or chosen))
        question = layout.spans(_blocks(layout, [*names[:1], *texts[:1]]))
        if question and answer:
            pairs.append(make_pair(page.text, "microdata", question, answer))
    return pairs


def _most_voted(layout: Layout, answers: list[int], parts: list[int]) -> list[int]:
    """The answer with the most votes, where one has any."""
    votes = {}
    for index in parts:
        container = layout.containers[index]
        owner = next((up for up in layout.ancestors(container.parent) if up in answers), -1)
        if container.role == "upvoteCount" and owner >= 0:
            text = " ".join(block.text for block in layout.blocks[container.first : container.last])
            votes[owner] = int(text) if text.isdecimal() else 0
    best = max(votes, key=lambda owner: votes[owner], default=-1)
    return [best] if best >= 0 and votes[best] > 0 else []


def is_thread(layout: Layout) -> bool:
    """Whether markup says that the page is about one question: QAPage, or answers that readers suggest and vote on."""
    roles = Counter(container.role for container in layout.containers)
    suggested = roles["Question"] == 1 and (roles["suggestedAnswer"] > 0 or roles["upvoteCount"] > 0)
    return roles["QAPage"] > 0 or suggested or any('"QAPage"' in source for source in layout.json_ld)


def _within(layout: Layout, index: int, outer: list[int]) -> bool:
    return any(up in outer for up in layout.ancestors(index))


def _blocks(layout: Layout, containers: list[int]) -> list[int]:
    blocks = {
        block
        for index in containers
        for block in layout.kept(layout.containers[index].first, layout.containers[index].last)
    }
    return sorted(blocks)
