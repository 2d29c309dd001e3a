"""Panels that a title opens: accordions, collapses, toggles, FAQ blocks of site builders.

Titles are recognized by the names of their elements (WordPress, Elementor, Bootstrap, Shopify, jQuery UI and their
likes name them alike); what a title opens is the rest of its item, or the element right after it. Accordions also hold
what nobody asked (chapters, versions, sizes), so the titles of a page are judged together.
"""

import re
from functools import lru_cache

from webinstruct_assets.stages.pages.document import Layout, Page, Pair, make_pair
from webinstruct_assets.stages.pages.rules.asking import answers, named_faq, page_is_faq, span_text, title_asks
from webinstruct_assets.stages.pages.rules.spans import without_label, without_question_label

WIDGET = re.compile(r"accordion|toggle|collaps|faq|panel|\bqa\b|qna|expand|elementor-tab|rank-math|(?:^|[-_])tabs?[-_]", re.IGNORECASE)  # fmt: skip
TITLE = re.compile(r"title|header|heading|head\b|question|trigger|btn|button|link|label|summary|toggle$|(?:^|[-_])q$|^accordion$|^collapsible$", re.IGNORECASE)  # fmt: skip
PANEL = re.compile(r"content|body|answer|collapse|panel|inner|text|(?:^|[-_])a$", re.IGNORECASE)
MAX_TITLE = 300  # characters
MIN_SHARE = 0.5  # of a group's titles must ask, where nothing else says FAQ


def accordion(page: Page, layout: Layout) -> list[Pair]:
    """Titles that open a panel, with the panel's text."""
    groups: dict[str, list[int]] = {}
    for index, container in enumerate(layout.containers):
        name = _title_name(container.names) if container.names else ""
        if name and container.first < container.last:
            groups.setdefault(name, []).append(index)
    faq = page_is_faq(page)
    pairs = []
    for name, titles in groups.items():
        entries = []
        outer = [
            index
            for index in titles
            if not any(up in titles for up in layout.ancestors(layout.containers[index].parent))
        ]
        for place, index in enumerate(outer):
            container = layout.containers[index]
            own = layout.kept(container.first, container.last)
            text = span_text(page.text, layout.spans(own))
            if not own or len(own) > 2 or len(text) > MAX_TITLE:
                continue
            following = layout.containers[outer[place + 1]].first if place + 1 < len(outer) else len(layout.blocks)
            body = _panel(layout, index, following)
            if body and answers(layout, body):
                entries.append((own, body, text, faq or named_faq(layout, index)))
        asking = sum(title_asks(text, page.language, hinted=hinted) for _, _, text, hinted in entries)
        named = "faq" in name.lower() or "question" in name.lower()
        if len(entries) < 2 and not named:
            continue
        all_hinted = all(hinted for *_, hinted in entries)
        if not (asking >= max(1, MIN_SHARE * len(entries)) or (all_hinted and (asking or named))):
            continue
        for own, body, _, _ in entries:
            question, answer = without_question_label(page.text, layout, own), without_label(page.text, layout, body)
            if question and answer:
                pairs.append(make_pair(page.text, "accordion", question, answer))
    return pairs


@lru_cache(maxsize=65_536)
def _title_name(names: str) -> str:
    """The class that makes an element a panel's title, "" when it is none."""
    for token in names.split():
        if WIDGET.search(token) and TITLE.search(token) and not re.search(r"\d|icon|wrap|group|list|items?$", token):
            return token
    return ""


def _panel(layout: Layout, title: int, following: int) -> list[int]:
    """Blocks that a title opens: what follows it in its item, or the one element after it."""
    containers = layout.containers
    end = containers[title].last
    for up in layout.ancestors(containers[title].parent):
        owner = containers[up]
        if owner.last > following or up == 0:
            break
        if inside := layout.kept(end, owner.last):
            if layout.kept(owner.first, containers[title].first):
                break  # something stands before the title, so this is not its item
            return inside
    parents = set(layout.ancestors(containers[title].parent))
    for index in range(title + 1, len(containers)):
        after = containers[index]
        if after.first >= following:
            break
        if (
            after.first >= end
            and after.parent in parents
            and (inside := layout.kept(after.first, min(after.last, following)))
        ):
            return (
                inside
                if after.tag != "button" and (PANEL.search(after.names) or after.tag in ("p", "div", "dd", "ul"))
                else []
            )
    return []
