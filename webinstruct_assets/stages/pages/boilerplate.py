"""Which parts of a page are not its content: by element names, by classes and ids, by link density, by place.

Names of elements come in as ``names(class, id)``; the layout of a whole page as ``drop_boilerplate``. A block is
never deleted: it gets the reason for which it is left out, so that reasons can be counted and revised.

Rules lean towards keeping: question pages are short, and tools tuned on news empty them.
"""

import re
from functools import lru_cache

from webinstruct_assets.stages.pages.document import Block, Layout

DROP_TOKENS = {
    "navigation": "nav navbar navigation menu menubar submenu breadcrumb breadcrumbs crumbs pagination pager paging "
    "sitemap skiplink topbar toolbar topnav toc tabs",
    "frame": "footer colophon masthead headerbar catlinks copyright imprint banner sidebar aside rail widget widgets topbox bottombar",
    "ad": "ad ads adv advert adverts advertisement advertising adsense adslot adbox adunit dfp sponsor sponsored promo "
    "promos promoted promotion outbrain taboola teads",
    "cookie": "cookie cookies consent gdpr onetrust cmp cookiebar",
    "share": "share sharing shares social socials addthis sharethis sharedaddy follow followus sharebar",
    "related": "related recommended recommendation recommendations recirc similar popular trending mostread readalso "
    "morelike teasers seealso upnext yarpp crosslinks hotnetwork",
    "prompt": "newsletter subscribe subscription signup login signin register paywall popup modal lightbox toast "
    "search searchform donate donation",
    "comment": "comments commentlist disqus respond commentform commentary",
    "meta": "byline tagcloud taglist tags authorbox authorbio postmeta entrymeta metadata printonly caption credit "
    "credits infoline dateline",
}  # fmt: skip
TOKEN_REASON = {token: reason for reason, tokens in DROP_TOKENS.items() for token in tokens.split()}
ALWAYS = frozenset({"ad", "cookie", "share", "related", "comment", "prompt"})
CONTENT_TOKENS = frozenset(
    [
        "content",
        "article",
        "entry",
        "main",
        "story",
        "question",
        "questions",
        "answer",
        "answers",
        "solution",
        "solutions",
        "thread",
        "topic",
        "faq",
        "faqs",
        "post",
        "text",
    ]
)
LAYOUT_TOKENS = frozenset(
    [
        "with",
        "has",
        "no",
        "wrapper",
        "container",
        "page",
        "layout",
        "site",
        "body",
        "left",
        "right",
        "two",
        "col",
        "columns",
        "row",
        "grid",
    ]
)
ANSWER_TOKENS = frozenset(
    [
        "answer",
        "answers",
        "solution",
        "solutions",
        "explanation",
        "worked",
        "working",
        "ans",
        "soln",
        "spoiler",
        "hint",
        "reveal",
        "antwort",
        "lösung",
        "reponse",
    ]
)
QUESTION_TOKENS = frozenset(["question", "questions", "problem", "exercise", "mcq", "ques", "frage", "aufgabe"])
OPENABLE_TOKENS = frozenset(
    [
        "answer",
        "answers",
        "solution",
        "solutions",
        "explanation",
        "spoiler",
        "hidden",
        "hide",
        "collapse",
        "collapsible",
        "collapsed",
        "accordion",
        "panel",
        "toggle",
        "reveal",
        "faq",
        "faqs",
        "qa",
        "details",
        "hint",
        "tab",
        "worked",
    ]
)
STEM_TOKENS = frozenset(["stem", "given", "passage", "scenario", "stimulus"])
POST_TOKENS = frozenset(
    ["post", "reply", "comment", "msg", "message", "answer", "question", "response", "topic", "card"]
)
META_TOKENS = frozenset(
    [
        "meta",
        "byline",
        "author",
        "username",
        "user",
        "who",
        "when",
        "date",
        "time",
        "timestamp",
        "posted",
        "votes",
        "vote",
        "score",
        "sig",
        "signature",
        "avatar",
        "badge",
        "ribbon",
        "reputation",
        "rank",
        "joined",
        "rep",
        "tick",
        "thx",
        "thanks",
        "foot",
        "postfoot",
        "poster",
        "userinfo",
        "usercard",
    ]
)
ACCEPTED = re.compile(
    r"(?:^|[\s_-])(?:accepted|acceptedanswer|accepted-answer|is-accepted|is-best|best-answer|bestanswer|post--solution|"
    r"is-solution|solved-answer|chosen|answer-accepted|marked-solution|best|solution-post|correct-answer)(?:$|[\s_-])"
)
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
NOT_WORD = re.compile(r"[^a-zà-ÿ]+")
TOPIC = re.compile(r"\b(?:tag|category|cat|topic|kategorie)-[\w-]+")  # what a page is about, not what an element is
FURNITURE = re.compile(
    r"\b(?:siteNotice|contentSub|mw-editsection|mw-jump-link|printfooter|most-read|p-lang)\b"
)  # MediaWiki's, mostly
MAX_NAMES = 400  # characters of class and id that are looked at


@lru_cache(maxsize=65_536)
def names(tag: str, text: str) -> tuple[str, frozenset[str]]:
    """(reason to drop, flags) of an element from its tag and its ``"class id"`` string.

    Flags: content, answer, question, openable, post, meta, accepted.
    """
    text = TOPIC.sub(" ", text[:MAX_NAMES])
    lowered = CAMEL.sub(" ", text).lower()
    tokens = [token for token in NOT_WORD.split(lowered) if token]
    unique = set(tokens)
    flags = set()
    for flag, known in (("content", CONTENT_TOKENS), ("answer", ANSWER_TOKENS), ("question", QUESTION_TOKENS),
                        ("openable", OPENABLE_TOKENS), ("stem", STEM_TOKENS), ("post", POST_TOKENS), ("meta", META_TOKENS)):  # fmt: skip
        if not known.isdisjoint(unique):
            flags.add(flag)
    if not unique.isdisjoint(("faq", "faqs", "qa")):  # "faq-q" and "faq-a", but not "faq-item"
        flags |= ({"question"} & flags) | {
            kind for kind, letter in (("question", "q"), ("answer", "a")) if letter in unique
        }
    if ACCEPTED.search(text.lower()):
        flags.add("accepted")
    reason = "frame" if FURNITURE.search(text) else ""
    if tag not in ("html", "body", "main", "article"):
        reasons = [TOKEN_REASON[token] for token in tokens if token in TOKEN_REASON]
        strong = [found for found in reasons if found in ALWAYS]
        if strong:
            reason = strong[0]
        elif reasons and "content" not in flags and LAYOUT_TOKENS.isdisjoint(unique):
            reason = reasons[0]
        elif "header" in unique and "content" not in flags and LAYOUT_TOKENS.isdisjoint(unique):
            reason = "frame"
        if reason and "answer" in flags:
            reason = ""
    return reason, frozenset(flags)


# -- the page as a whole -----------------------------------------------------------------------------------

LEGAL = re.compile(
    r"all rights reserved|^(?:©|copyright\b|\(c\) \d{4})|terms of (?:use|service)|privacy policy|(?:uses?|accept) cookies|"
    r"^(?:share (?:this|on)|follow us|subscribe|sign up|log ?in|advertisement|read more|related (?:articles?|posts?|questions?)|"
    r"leave a (?:reply|comment)|skip to (?:main )?content|back to top|click here to)\b",
    re.IGNORECASE,
)
LINK_CONTAINERS = frozenset({"ul", "ol", "div", "section", "table", "tr", "td", "dl", "li", "p", "header"})
RESTORE_SHARE = 0.5  # a part dropped for its name comes back when it holds more than this share of the page's prose
MAIN_SHARE = 0.85  # the main part is the smallest element that holds this share of the prose
MAIN_MIN_CHARS = 600  # pages with less prose are taken whole
LEAD_CHARS = 40
LINK_DENSITY = 0.6


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
    _restore(layout, weights)
    for container in containers:
        container.dropped = container.own_drop or (
            containers[container.parent].dropped if container.parent >= 0 else ""
        )
    for block in blocks:
        block.dropped = block.dropped or containers[block.container].dropped
        if not block.dropped and len(block.text) < 150 and block.kind != "code" and LEGAL.search(block.text):
            block.dropped = "legal"
    _drop_links(layout)
    _drop_outside(layout, weights)
    _drop_empty_sections(layout)


def _restore(layout: Layout, weights: list[float]) -> None:
    """Takes back a drop by name that would take most of the page."""
    total = sum(weights)
    prefix = [0.0]
    for value in weights:
        prefix.append(prefix[-1] + value)
    for container in layout.containers:
        if container.own_drop and container.own_drop != "hidden" and total:
            share = (prefix[container.last] - prefix[container.first]) / total
            if share > RESTORE_SHARE:
                container.own_drop = ""


def _drop_links(layout: Layout) -> None:
    containers, blocks = layout.containers, layout.blocks
    chars, linked, links = ([0] * len(containers) for _ in range(3))
    for block in blocks:
        if not block.dropped:
            chars[block.container] += len(block.text)
            linked[block.container] += min(block.link_chars, len(block.text))
            links[block.container] += block.links
    for index in range(len(containers) - 1, 0, -1):
        parent = containers[index].parent
        if parent >= 0:
            chars[parent] += chars[index]
            linked[parent] += linked[index]
            links[parent] += links[index]
    dense = [False] * len(containers)
    for index, container in enumerate(containers):
        if container.parent >= 0 and dense[container.parent]:
            dense[index] = True
        elif container.tag in LINK_CONTAINERS and chars[index] and "answer" not in container.flags:
            density = linked[index] / chars[index]
            dense[index] = (links[index] >= 2 and density > LINK_DENSITY) or (density > 0.85 and chars[index] < 200)
    for block in blocks:
        if block.dropped or block.kind == "heading":
            continue
        own = block.links and block.link_chars > 0.85 * len(block.text) and len(block.text) < 120
        prose = len(block.text) >= 80 and block.link_chars < len(block.text) / 2
        if (own and block.text[-1:] != "?") or (dense[block.container] and not prose):
            block.dropped = "links"


def _drop_outside(layout: Layout, weights: list[float]) -> None:
    """Keeps the smallest element that holds nearly all prose, and main headings before it."""
    containers, blocks = layout.containers, layout.blocks
    totals = [0.0] * len(containers)
    for index, block in enumerate(blocks):
        if not block.dropped:
            totals[block.container] += weights[index]
    for index in range(len(containers) - 1, 0, -1):
        totals[containers[index].parent] += totals[index]
    if not containers or totals[0] < MAIN_MIN_CHARS:
        return
    main, needed = 0, MAIN_SHARE * totals[0]
    for index, container in enumerate(containers):  # a child comes after its parent, so one pass descends
        if container.parent == main and totals[index] >= needed and container.tag not in ("p", "li", "td", "details"):
            main = index
    first, last = containers[main].first, containers[main].last
    title = max(
        (index for index in range(first) if blocks[index].level == 1 and not blocks[index].dropped),
        default=first,
    )
    for index, block in enumerate(blocks):
        if block.dropped or first <= index < last:
            continue
        lead = title < index < first and weights[index] >= LEAD_CHARS  # a summary between the title and the main part
        if not lead and not (block.level == 1 and index < first):
            block.dropped = "outside"


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
