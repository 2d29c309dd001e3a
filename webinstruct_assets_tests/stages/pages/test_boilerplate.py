"""What is left out of pages and, more than that, what must not be."""

import pytest

from webinstruct_assets.stages.pages.element_names import names
from webinstruct_assets.stages.pages.html import extract_page
from webinstruct_assets.stages.pages.line_words import line_reason

PROSE = "<p>Every sentence of this paragraph belongs to the text and makes it long enough to be the main part of a page.</p>"


def text(body: str, url: str = "https://a.example/lesson") -> str:
    return extract_page(f"<html lang=en><body>{body}</body></html>".encode(), url=url).text


@pytest.mark.parametrize(
    ("tag", "name", "reason"),
    [
        ("div", "cookie-banner", "cookie"), ("div", "relatedPosts", "related"), ("div", "article__comments", "comment"),
        ("div", "kommentare", "comment"), ("div", "wp-caption", "caption"), ("div", "img-description", "caption"),
        ("div", "site-header", ""), ("div", "header", "header"), ("ul", "breadcrumb", "navigation"), ("div", "widget", "frame"),
        # names of what an element holds, lacks or is about; of page builders; of single paragraphs; slugs of titles
        ("div", "has-sharing", ""), ("section", "non-paywall", ""), ("article", "tag-related comments", ""),
        ("div", "category-advertising", ""), ("div", "elementor-widget-wrap", ""), ("p", "widget-text", ""),
        ("h2", "related-rates", ""), ("div", "card-header", ""), ("div", "answer share", ""), ("main", "sidebar", ""),
    ],
)  # fmt: skip
def test_names(tag: str, name: str, reason: str) -> None:
    assert names(tag, name)[0] == reason


@pytest.mark.parametrize(
    ("name", "accepted"),
    [("answer accepted-answer", True), ("post best", True), ("reply is-solution", True), ("chosen", False),
     ("best-price-top", False), ("not-accepted", False), ("pane best", False)],
)  # fmt: skip
def test_accepted(name: str, accepted: bool) -> None:
    assert ("accepted" in names("div", name)[1]) == accepted


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("You may also like", "related"), ("Lesen Sie auch: Neues vom Mond", "related"), ("À lire aussi", "related"),
        ("Leave a Reply", "comment"), ("3 Kommentare", "comment"), ("Über den Autor", "author"), ("Foto: A. Müller", "caption"),
        ("Last updated: 2020-04-20 · 4105 views", "meta"), ("© 2021 Drill Sheets", "legal"), ("» Share this page:", "share"), ("Log in", "prompt"), ("Skip to content", "navigation"), ("Werbung", "ad"),
        # the same first words in exercises and tutorials
        ("Related rates", ""), ("Ähnliche Dreiecke", ""), ("Weitere Aufgaben", ""), ("Lesen Sie den Text und antworten Sie.", ""),
        ("Log in as the root user", ""), ("Register allocation", ""), ("Comments", ""), ("Credit: cash 500", ""),
        ("Teilen", ""), ("Bilder einer Ausstellung", ""), ("Source code", ""), ("3 answers", ""), ("42", ""),
    ],
)  # fmt: skip
def test_lines(line: str, reason: str) -> None:
    assert line_reason(line.lower(), 0, 0) == reason


def test_a_link_tells_a_prompt_from_a_step() -> None:
    assert (line_reason("log in to comment", 1, 6), line_reason("log in as root", 0, 0)) == ("prompt", "")


def test_captions_go_and_figures_with_content_stay() -> None:
    page = text(
        f"<h1>Springs</h1>{PROSE * 6}<figure><img src=a.png>A spring, photographed in Graz</figure>"
        "<div class=image-box><p>Another spring by A. Mann</p></div>"
        "<figure><pre>F = -k * x</pre></figure><figure><table><tr><td>k</td><td>20 N/m</td></tr></table></figure>"
        f"<div class=question-image><p>A spring hangs from the ceiling.</p></div><figure>Which spring is stiffer?</figure>{PROSE}"
    )
    assert "photographed" not in page and "Another spring" not in page
    for kept in ("F = -k * x", "k | 20 N/m", "A spring hangs from the ceiling.", "Which spring is stiffer?"):
        assert kept in page


def test_a_boilerplate_title_takes_its_box_or_the_links_behind_it() -> None:
    page = text(
        f"<h1>Tides</h1>{PROSE * 6}<p>Read more:</p><p><a href=/x>Why the sea is salt and how we know</a></p>{PROSE}"
        "<div><h3>You may also like</h3><div><a href=/y>Waves</a><p>They come and go, and nobody counts them.</p></div></div>"
        "<h2>More on tides</h2><p>Spring tides come at new and full moon, when the pulls add up.</p>"
        "<div><h2>More lessons</h2><p><a href=/1>Lesson one on the moon</a></p><p><a href=/2>Lesson two on the sun</a></p></div>"
    )
    for gone in ("Read more", "sea is salt", "You may also", "nobody counts", "More lessons", "Lesson one"):
        assert gone not in page
    assert "More on tides" in page and "Spring tides come" in page


def test_linked_questions_under_such_a_title_stay() -> None:
    asked = "".join(f"<h3><a href=#q{n}>Is the tide number {n} high?</a></h3><p>Tide {n} is.</p>" for n in range(3))
    page = text(f"<h1>Tides</h1>{PROSE * 9}<div><h2>More questions</h2>{asked}</div>")
    assert "More questions" in page and page.count("Is the tide") == page.count("is.") == 3


def test_the_lead_between_title_and_main_part_stays() -> None:
    lead = "A lead sums the article up in one sentence, and stands in an element of its own before the text."
    body = f"<div><h1>Title</h1><div><p>{lead}</p></div><p>Read every part before you write anything down.</p>"
    page = text(
        f"{body}<div>{PROSE * 12}</div></div><div><p>Some club, some street, some town and its telephone.</p></div>"
    )
    assert lead in page and "Read every part" in page
    assert "telephone" not in page


def test_panels_headers_are_questions() -> None:
    panel = "<div class=card><div class=card-header>How is number {0} paid</div><div class=card-body>By card number {0}.</div></div>"
    page = text("<h1>Paying</h1>" + "".join(panel.format(number) for number in range(5)) + PROSE * 5)
    assert page.count("How is number") == page.count("By card number") == 5


def test_one_teaser_is_a_lead_and_many_are_other_pages() -> None:
    teaser = (
        "<div class=teaser><h3><a href=/{0}>Story {0}</a></h3><p>The short beginning of story number {0}.</p></div>"
    )
    assert "beginning of story number 1" in text(f"<h1>One</h1>{teaser.format(1)}{PROSE * 8}")
    assert "beginning" not in text(f"<h1>Many</h1>{PROSE * 8}{''.join(teaser.format(n) for n in range(4))}")


def test_authors_box_goes_except_in_threads_and_answers() -> None:
    box = "<div class=author-box><p>Ann teaches physics in a town by the sea.</p></div>"
    assert "Ann teaches" not in text(f"<h1>Title</h1>{PROSE * 6}{box}")
    assert "Ann teaches" in text(f"<h1>Title</h1>{PROSE * 6}{box}", "https://a.example/forum/t/1")
    answer = "<div class='author answer'><p>Ann teaches physics in a town by the sea.</p></div>"
    assert "Ann teaches" in text(f"<h1>Title</h1>{PROSE * 6}{answer}")


def test_chapters_named_like_prompts_stay() -> None:
    page = text(f"<section id=binary-search><h2>Binary search</h2>{PROSE * 7}</section>{PROSE * 9}")
    assert "Binary search" in page and page.count("Every sentence") == 16
