"""Threads whose accepted answer the page marks: forums, question boards, help desks."""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile

from webinstruct_assets.stages.pages.document import Layout, Page, Pair, Post, make_pair

WHEN = re.compile(r"\b\d{1,2}:\d{2}\b|\b(?:19|20)\d{2}\b|\bago\b", re.IGNORECASE)
ACCEPTED_NOTE = re.compile(
    r"(?:accepted|best|chosen|top|correct) (?:answer|solution|reply)|accepted by|marked as (?:the )?(?:answer|solution|best)|this helped|\bsolved by\b",
    re.IGNORECASE,
)
SOLUTION = re.compile(r"(?:^|[\s_-])(?:solution|solved|accepted|best[_-]?answer|is-best)(?:$|[\s_-])", re.IGNORECASE)
UNSOLVED = re.compile(r"not[_-]accepted|un(?:solved|accepted)|no[_-]solution", re.IGNORECASE)
BODY = re.compile(
    r"(?:^|[\s_-])(?:post-?body|postbody|post-?content|post-?text|postmessage|post_message|message-?content|message-?body|bbWrapper|s-prose|comment-?body|reply-?body|body-content|content|cooked)(?:$|[\s_-])",
    re.IGNORECASE,
)
ASIDE = re.compile(r"(?:^|[\s_-])(?:comments?|comment-list|signature|sig|taglist|tags|user-?info|user-?details|post-?meta|author|postprofile|votecell)(?:$|[\s_-])", re.IGNORECASE)  # fmt: skip


def forum_accepted(page: Page, layout: Layout) -> list[Pair]:
    """First post and the one accepted post of a thread."""
    posts = _posts(layout)
    if len(posts) < 2:
        return []
    accepted = [index for index in posts if _is_accepted(layout, index)]
    if len(accepted) != 1 or accepted[0] == posts[0]:
        return []
    question, answer = _post_body(layout, posts[0]), _post_body(layout, accepted[0])
    if not question or not answer:
        return []
    return [make_pair(page.text, "forum_accepted", layout.spans(question), layout.spans(answer))]


AUTHOR = re.compile(r"(?:^|[\s_-])(?:author|username|user-?name|user|poster|postername|display-?name|creator|nick|who|names|member)(?:$|[\s_-])", re.IGNORECASE)  # fmt: skip
TIME = re.compile(
    r"(?:^|[\s_-])(?:time|timestamp|date|datetime|posted|created|when|relativetime|post-?date)(?:$|[\s_-])",
    re.IGNORECASE,
)
VOTES = re.compile(
    r"(?:^|[\s_-])(?:votes?|vote-?count|score|upvotes?|points|likes|rating|thx|thanks)(?:$|[\s_-])", re.IGNORECASE
)
BY = re.compile(r"\b(?:by|from|author:?|von|par|por)\s+(@?[\w.-]{2,30}(?: [A-ZÀ-Þ][\w.-]{1,20})?)")
MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?Z?)?|\b[^\W\d]{3,9}\.? \d{1,2},? (?:'\d\d|\d{4})(?:,? (?:at )?\d{1,2}:\d\d(?: ?[AP]M)?)?|"
    r"\b\d{1,2}[./ ](?:\d{1,2}|[^\W\d]{3,9})[./ ]\d{2,4}(?:,? \d{1,2}:\d\d)?|\b(?:\d{1,3}|an?) (?:second|minute|hour|day|week|month|year)s? ago",
    re.IGNORECASE,
)
COUNT = re.compile(r"[+\u2212-]?\d{1,6}")
MAX_ABOUT = 60  # characters of a name or a time


def thread_posts(layout: Layout) -> list[Post]:
    """The posts of a thread with author, time, votes and accepted mark where the page names them; [] for other pages.

    What is about a post is mostly dropped from the page's text, so dropped blocks are read too.
    """
    found = _posts(layout)
    if len(found) < 2:
        return []
    posts = []
    for index in found:
        body = _post_body(layout, index)
        if not body:
            continue
        inside = set(body)
        container = layout.containers[index]
        author = time = ""
        votes = None
        for place in range(container.first, container.last):
            block = layout.blocks[place]
            if place in inside or len(block.text) > MAX_ABOUT:
                continue
            names = " ".join(layout.containers[up].names for up in _between(layout, block.container, index))
            if votes is None and VOTES.search(names) and (count := COUNT.search(block.text)):
                votes = int(count[0].replace("\u2212", "-"))
                continue
            moment = MOMENT.search(block.text)
            if not time and (moment or TIME.search(names)):
                time = moment[0] if moment else block.text
                if moment and (by := BY.search(block.text)):
                    author = author or by[1]
                continue
            if not author and AUTHOR.search(names):
                by = BY.search(block.text)
                author = by[1] if by else block.text
        posts.append(Post(layout.spans(body), author, time, votes, _is_accepted(layout, index)))
    return posts if len(posts) > 1 else []


def _posts(layout: Layout) -> list[int]:
    """The posts of the element that directly holds most of them; a question that stands before its answers leads."""
    containers = layout.containers
    posts = [
        index
        for index, container in enumerate(containers)
        if "post" in container.flags
        and container.tag in ("div", "article", "li", "section", "table", "tr", "blockquote")
        and not _is_aside(container.names)
    ]
    groups: dict[tuple[int, str], list[int]] = {}
    for index in posts:
        groups.setdefault((containers[index].parent, containers[index].tag), []).append(index)
    boards = [group for group in groups.values() if all("answer" in containers[index].flags for index in group)]
    if boards:
        answers = max(boards, key=len)  # the outermost of equals comes first
        asked = [index for index in posts if index < answers[0] and "question" in containers[index].flags]
        return [*asked[-1:], *answers]
    return max(groups.values(), key=len, default=[])


def _inside(layout: Layout, index: int) -> Iterator[int]:
    """The containers inside a container: they come right after it, and the first that begins behind its end is none."""
    containers = layout.containers
    last = containers[index].last
    return takewhile(lambda place: containers[place].first < last, range(index + 1, len(containers)))


def _between(layout: Layout, inner: int, outer: int) -> Iterator[int]:
    """``inner`` and the containers around it up to ``outer``, which is left out."""
    return takewhile(lambda up: up > outer, layout.ancestors(inner))


@lru_cache(maxsize=65_536)  # names are few and come back on every page of a site
def _is_aside(names: str) -> bool:
    return ASIDE.search(names) is not None


@lru_cache(maxsize=65_536)
def _may_be_solution(names: str, flagged: bool) -> bool:
    return not UNSOLVED.search(names) and (flagged or SOLUTION.search(names) is not None)


def _is_accepted(layout: Layout, index: int) -> bool:
    container = layout.containers[index]
    for element in (container, *(layout.containers[place] for place in _inside(layout, index))):
        if _may_be_solution(element.names, "accepted" in element.flags):
            return True
    return any(
        len(block.text) < 60 and ACCEPTED_NOTE.search(block.text)
        for block in layout.blocks[container.first : container.last]
    )


def _post_body(layout: Layout, index: int) -> list[int]:
    """Blocks of what a post says: its body element where it has one, without author, date, votes and comments."""
    containers, blocks = layout.containers, layout.blocks
    container = containers[index]
    bodies = [
        place
        for place in _inside(layout, index)
        if BODY.search(containers[place].names)
        and layout.kept(containers[place].first, containers[place].last)
        and not any(_is_aside(containers[up].names) for up in _between(layout, place, index))
    ]
    inner = [
        place for place in bodies if not any(place in layout.ancestors(containers[other].parent) for other in bodies)
    ]
    first, last = (
        (containers[inner[0]].first, containers[inner[0]].last)
        if len(inner) == 1
        else (container.first, container.last)
    )
    body = []
    for block_index in layout.kept(first, last):
        block = blocks[block_index]
        around = list(_between(layout, block.container, index))
        meta = any("meta" in containers[up].flags or _is_aside(containers[up].names) for up in around)
        note = len(block.text) < 60 and (
            ACCEPTED_NOTE.search(block.text) or (WHEN.search(block.text) and block.text[-1] not in ".?!:")
        )
        if not meta and not note:
            body.append(block_index)
    return body
