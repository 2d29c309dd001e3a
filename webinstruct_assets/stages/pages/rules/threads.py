"""Threads whose accepted answer the page marks: forums, question boards, help desks."""

import re
from itertools import takewhile

from webinstruct_assets.stages.pages.document import Layout, Page, Pair, make_pair

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


def _posts(layout: Layout) -> list[int]:
    """The posts of the element that directly holds most of them; a question that stands before its answers leads."""
    containers = layout.containers
    posts = [
        index
        for index, container in enumerate(containers)
        if "post" in container.flags
        and container.tag in ("div", "article", "li", "section", "table", "tr", "blockquote")
        and not ASIDE.search(container.names)
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


def _is_accepted(layout: Layout, index: int) -> bool:
    container = layout.containers[index]
    inside = takewhile(lambda child: child.first < container.last, layout.containers[index + 1 :])
    for element in (container, *inside):
        if not UNSOLVED.search(element.names) and ("accepted" in element.flags or SOLUTION.search(element.names)):
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
        for place in range(index + 1, len(containers))
        if index in layout.ancestors(containers[place].parent) and BODY.search(containers[place].names)
        and layout.kept(containers[place].first, containers[place].last)
        and not any(ASIDE.search(containers[up].names) for up in layout.ancestors(place) if up > index)
    ] if len(containers) - index < 5_000 else []  # fmt: skip
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
        around = [up for up in layout.ancestors(block.container) if up > index]
        meta = any("meta" in containers[up].flags or ASIDE.search(containers[up].names) for up in around)
        note = len(block.text) < 60 and (
            ACCEPTED_NOTE.search(block.text) or (WHEN.search(block.text) and block.text[-1] not in ".?!:")
        )
        if not meta and not note:
            body.append(block_index)
    return body
