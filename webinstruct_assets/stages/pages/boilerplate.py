"""Which parts of a page are not its content: by names of elements, by words of lines, by link density, by place.

The layout of a whole page comes in (``drop_boilerplate``). A block is never deleted: it gets the reason for which it is
left out, so that reasons can be counted and revised.

Rules lean towards keeping: question pages are short, and tools tuned on news empty them.
"""

from itertools import accumulate

from webinstruct_assets.stages.pages.document import Block, Layout
from webinstruct_assets.stages.pages.line_words import (
    LINE_CHARS,
    MAYBE,
    OPENERS,
    SECTION_TITLE,
    SECTIONS,
    first_word,
    line_reason,
    notices,
)

LINK_CONTAINERS = frozenset({"ul", "ol", "div", "section", "table", "tr", "td", "dl", "li", "p", "header"})
RESTORE_SHARE = 0.5  # a part dropped for its name comes back when it holds more than this share of the page's prose
MOST_PROSE = {"navigation": 300, "ad": 300, "caption": 400, "prompt": 500, "share": 500}
"""Characters of prose from which a part is not what its name says: "tabs" hold panels, "binary-search" is a chapter."""
MAIN_SHARE = 0.85  # the main part is the smallest element that holds this share of the prose
MAIN_MIN_CHARS = 600  # pages with less prose are taken whole
LEAD_CHARS = 80  # a summary between the title and the main part is longer
SHORT_LEAD = 40  # right beside the main part, below a title
LEAD_STEPS = 6  # levels of elements between the main part and what holds it and its summary
LINK_DENSITY = 0.6
FREE = 40  # characters outside links that make a block in a list of links more than a link
TEASERS = 3  # boxes called teaser from which they are a list of other pages; fewer may be this page's own lead
AUTHOR_SHARE, AUTHOR_BLOCKS = 0.3, 12  # larger parts under an author's name are what the author wrote
FIGURE_CHARS, IMAGE_CHARS = 400, 300  # text in a figure, or in an element named after an image, that is its caption
ANSWERS = frozenset({"question", "answer"})
OPENED = ANSWERS | {"openable"}
BOX_SHARE = 0.4  # a box with a boilerplate title goes whole unless it holds more than this share of the page's prose


def weight(block: Block) -> float:
    """How much a block looks like prose, in characters."""
    length = len(block.text)
    if block.kind == "heading":
        return 0.2 * length
    if block.link_chars > length / 2:
        return 0.0
    if block.kind == "code" or block.math or length >= 60 or block.text[-1:] in ".?!:":
        return float(length)
    return 0.3 * length


def drop_boilerplate(layout: Layout, *, forum: bool) -> None:
    """Marks the blocks that are not content with the reason in ``Block.dropped``."""
    containers, blocks = layout.containers, layout.blocks
    if forum:  # a thread's answers are often called comments or replies
        for container in containers:
            if container.own_drop == "comment":
                container.own_drop = ""
    weights = [weight(block) for block in blocks]
    prefix = list(accumulate(weights, initial=0.0))
    _by_name(layout, prefix, forum=forum)
    for container in containers:
        container.dropped = container.own_drop or (
            containers[container.parent].dropped if container.parent >= 0 else ""
        )
    for block in blocks:
        block.dropped = block.dropped or containers[block.container].dropped
    _by_line(layout, prefix, forum=forum)
    _drop_links(layout)
    _drop_outside(layout, weights)
    _drop_empty_sections(layout)


def _by_name(layout: Layout, prefix: list[float], *, forum: bool) -> None:
    """Takes back drops by name that would take content, adds captions and authors' boxes."""
    total, blocks = prefix[-1], layout.blocks
    teasers, end = 0, -1
    for container in layout.containers:
        if container.own_drop == "teaser" and end <= container.first < container.last:
            teasers, end = teasers + 1, container.last
    for container in layout.containers:
        first, last = container.first, container.last
        reason = container.own_drop
        if reason == "hidden" or first == last:
            continue
        prose = prefix[last] - prefix[first]
        if reason == "teaser":
            many = teasers >= TEASERS and OPENED.isdisjoint(container.flags)
            reason = container.own_drop = "related" if many else ""
        if reason:
            if prose > RESTORE_SHARE * total or prose > MOST_PROSE.get(reason, prose):
                container.own_drop = ""
            elif reason == "header":
                container.own_drop = "" if _is_title(blocks[first:last]) else "frame"
            continue
        if container.tag == "figure" or "image" in container.flags:
            if ANSWERS.isdisjoint(container.flags) and _is_caption(blocks[first:last], container.tag == "figure"):
                container.own_drop = "caption"
        elif (
            "author" in container.flags
            and not forum
            and prose < AUTHOR_SHARE * total
            and last - first <= AUTHOR_BLOCKS
            and ANSWERS.isdisjoint(container.flags)
            and not any(block.level == 1 for block in blocks[first:last])
        ):
            container.own_drop = "meta"


def _is_title(inside: list[Block]) -> bool:
    """Whether a header is that of a text, not of the site: a heading, and few links."""
    size = sum(len(block.text) for block in inside)
    return any(block.kind == "heading" for block in inside) and 2 * sum(block.link_chars for block in inside) < size


def _is_caption(inside: list[Block], figure: bool) -> bool:
    """Whether all that an image's element holds is a few words about it. Figures may also hold tables and code."""
    if len(inside) > 4 or sum(len(block.text) for block in inside) > (FIGURE_CHARS if figure else IMAGE_CHARS):
        return False
    kinds = ("paragraph", "heading") if figure else ("paragraph",)
    return all(block.kind in kinds and not block.math and block.text[-1:] != "?" for block in inside)


def _by_line(layout: Layout, prefix: list[float], *, forum: bool) -> None:
    """Drops lines for their words, and the boxes and lists that such lines open."""
    blocks = layout.blocks
    short = [
        index
        for index, block in enumerate(blocks)
        if not block.dropped and len(block.text) <= LINE_CHARS and block.kind != "code" and not block.math
    ]
    lines = [blocks[index].text.lower() for index in short]
    legal, credits = notices(lines)
    for place, (index, lowered) in enumerate(zip(short, lines, strict=True)):
        block = blocks[index]
        if block.dropped or (lowered[-1:] == "?" and not block.links):
            continue
        first = first_word(lowered)
        reason = line_reason(lowered, block.links, block.link_chars) if first in OPENERS or first.isdigit() else ""
        if not reason:
            if (
                first in MAYBE
                and len(lowered) <= SECTION_TITLE
                and (block.kind == "heading" or lowered[-1:] not in ".;,")
            ):
                _drop_section(layout, index, prefix, sure=False)
            elif place in legal:
                block.dropped = "legal"
            elif place in credits:
                block.dropped = "caption"
            continue
        if forum and reason in ("comment", "author", "meta"):
            continue
        block.dropped = reason if reason != "author" else "meta"
        if reason in SECTIONS and len(lowered) <= SECTION_TITLE:
            _drop_section(layout, index, prefix, sure=True)


def _drop_section(layout: Layout, title: int, prefix: list[float], *, sure: bool) -> None:
    """Drops the box that a title opens; without a box, the links that follow it.

    A title that is not ``sure`` goes with its section only where most of that are links.
    """
    containers, blocks = layout.containers, layout.blocks
    box, outer = -1, blocks[title].container
    while outer > 0 and containers[outer].first == title:
        last = containers[outer].last
        if last > title + 1 and prefix[last] - prefix[title] <= BOX_SHARE * prefix[-1]:
            box = outer
        outer = containers[outer].parent
    section: list[Block] = []
    linked = 0
    for other in blocks[title + 1 : containers[box if box >= 0 else outer].last]:
        link = 2 * other.link_chars > len(other.text) and other.text[-1:] != "?"
        if box < 0 and (not link or (other.kind == "heading" and not other.links)):
            break
        if not other.dropped:
            linked += link
            section.append(other)
    if not sure and (not section or 2 * linked < len(section)):
        return
    reason = blocks[title].dropped = blocks[title].dropped or "related"
    for other in section:
        if OPENED.isdisjoint(containers[other.container].flags):
            other.dropped = reason


def _drop_links(layout: Layout) -> None:
    """Drops lists of links, and lines that are nothing but a link."""
    containers, blocks = layout.containers, layout.blocks
    kept = [block for block in blocks if not block.dropped]
    if not any(block.links for block in kept):
        return
    sizes = [0 if block.dropped else len(block.text) for block in blocks]
    chars = list(accumulate(sizes, initial=0))
    # A question's heading links to itself, or opens its answer; the answer is not a part of a list of links.
    link_chars = [0 if block.kind == "heading" and block.text[-1:] == "?" else block.link_chars for block in blocks]
    linked = list(accumulate(map(min, link_chars, sizes), initial=0))
    links = list(accumulate([0 if block.dropped else block.links for block in blocks], initial=0))
    dense = [False] * len(containers)
    for index, container in enumerate(containers):
        first, last = container.first, container.last
        inside = linked[last] - linked[first]
        if container.parent >= 0 and dense[container.parent]:
            dense[index] = True
        elif inside and container.tag in LINK_CONTAINERS and "answer" not in container.flags:
            size = chars[last] - chars[first]
            dense[index] = (inside > LINK_DENSITY * size and links[last] - links[first] >= 2) or (
                inside > 0.85 * size and size < 200
            )
    for index, block in enumerate(blocks):
        if block.dropped:
            continue
        crowded = dense[block.container]
        if block.kind == "heading" or not (crowded or block.links):
            continue
        if "openable" in containers[block.container].flags and not any(
            after.links for after in blocks[index + 1 : index + 2]
        ):
            continue  # a panel's title is a link that opens it
        length, inside = len(block.text), block.link_chars
        alone = block.links and inside > 0.85 * length and length < 120
        prose = length - inside >= FREE and inside < length / 2
        if (alone and block.text[-1:] != "?") or (crowded and not prose):
            block.dropped = "links"


def _drop_outside(layout: Layout, weights: list[float]) -> None:
    """Keeps the smallest element that holds nearly all prose, main headings before it, and its lead."""
    containers, blocks = layout.containers, layout.blocks
    prefix = list(
        accumulate([0.0 if block.dropped else weights[index] for index, block in enumerate(blocks)], initial=0.0)
    )
    total = prefix[-1]
    if total < MAIN_MIN_CHARS:
        return
    main, needed = 0, MAIN_SHARE * total
    for index, container in enumerate(containers):  # a child comes after its parent, so one pass descends
        if (
            container.parent == main
            and prefix[container.last] - prefix[container.first] >= needed
            and container.tag not in ("p", "li", "td", "details")
        ):
            main = index
    first, last = containers[main].first, containers[main].last
    title = max(
        (index for index in range(first) if blocks[index].level == 1 and not blocks[index].dropped),
        default=-1,
    )
    around = {index: steps for steps, index in enumerate(layout.ancestors(main))}  # how far up from the main part
    lead = _lead(layout, title, first, around)
    for index, block in enumerate(blocks):
        if block.dropped or first <= index < last or index in lead:
            continue
        if block.level != 1 or index > first:
            block.dropped = "outside"


def _lead(layout: Layout, title: int, first: int, around: dict[int, int]) -> set[int]:
    """Blocks between title and main part that belong to the content: prose near the main part, and what it frames."""
    blocks = layout.blocks
    prose: dict[int, int] = {}  # container -> its first block of prose
    for index in range(title + 1, first):
        block = blocks[index]
        if block.dropped or len(block.text) < SHORT_LEAD or block.link_chars > 0.3 * len(block.text):
            continue
        steps = next((around[up] for up in layout.ancestors(block.container) if up in around), len(around))
        if steps <= LEAD_STEPS and (len(block.text) >= LEAD_CHARS or (steps <= 1 and title >= 0)):
            prose.setdefault(block.container, index)
    if not prose:
        return set()
    return {
        index
        for index in range(title + 1, first)
        if any(prose.get(up, first) <= index for up in layout.ancestors(blocks[index].container) if up not in around)
        or prose.get(blocks[index].container, first) <= index
    }


def _drop_empty_sections(layout: Layout) -> None:
    """Drops headings whose section was dropped, and headings that end the page."""
    after, gap = None, True  # the next kept block; whether something dropped lies between
    for block in reversed(layout.blocks):
        if block.dropped:
            gap = True
            continue
        if (
            block.kind == "heading"
            and block.level > 1
            and block.text[-1:] != "?"
            and gap
            and (after is None or (after.kind == "heading" and after.level <= block.level))
        ):
            block.dropped = "empty_section"
            continue
        after, gap = block, False
