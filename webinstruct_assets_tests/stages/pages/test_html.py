"""Text of pages: structure, boilerplate, hidden answers, limits and hostile input."""

import json
import random
import subprocess
import sys
import time

import pytest

from webinstruct_assets.stages.pages.document import Page, PageRejected
from webinstruct_assets.stages.pages.html import extract_page
from webinstruct_assets.stages.pages.reader import MAX_DEPTH


def read(html: str, url: str = "https://a.example/page") -> Page:
    return extract_page(html.encode(), url=url, content_type="text/html; charset=utf-8")


def test_markdown_like_lines() -> None:
    page = read(
        "<html lang='en-GB'><title>A page</title><body><h1>Top</h1><p>One<br>two</p><h2>Next</h2>"
        "<ol start=3><li>three<ul><li>inner</li></ul></li><li>four</li></ol>"
        "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
        "<pre><code>def f(x):\n    return x * 2  \n</code></pre><p>End with <code>code</code>.</p></body></html>"
    )
    assert page.title == "A page"
    assert page.language == "en"
    assert page.text.split("\n") == [
        "# Top", "One", "two", "## Next", "3. three", "  - inner", "4. four", "a | b", "1 | 2",
        "```", "def f(x):", "    return x * 2", "```", "End with `code`.",
    ]  # fmt: skip


def test_lines_know_where_they_are() -> None:
    page = read("<h2>Head</h2><ul><li>item</li></ul><p>a<br>b</p><table><tr><td>1</td><td>2</td></tr></table>")
    assert [page.text[line.start : line.end] for line in page.lines] == page.text.split("\n")
    assert [page.text[line.body : line.end] for line in page.lines] == ["Head", "item", "a", "b", "1 | 2"]
    assert page.lines[2].block == page.lines[3].block


BOILERPLATE = """<body><div class="cookie-banner">We use cookies, accept them.</div>
<header class="site-header"><a href="/">Logo</a></header><nav><a href="/a">A</a></nav>
<div class="sidebar widget"><h3>Popular</h3><ul><li><a href="/1">One story</a></li><li><a href="/2">Two</a></li></ul></div>
<div id="main"><h1>Quiz</h1><p>What is 2 + 2?</p><p>Four.</p><div class="share-buttons">Share this on every network</div>
<div class="ad-slot">Buy a kettle now</div><h3>Related questions</h3><ul class="related"><li><a href="/x">What is 3 + 3?</a></li></ul></div>
<footer>Imprint</footer></body>"""


def test_boilerplate_goes_and_short_question_pages_stay() -> None:
    page = read(BOILERPLATE)
    assert page.text == "# Quiz\nWhat is 2 + 2?\nFour."
    assert {"cookie", "share", "ad", "pruned"} <= set(page.dropped)


def test_names_do_not_empty_a_page() -> None:
    text = "This is the text of a page that its author put into an element with an unlucky name. " * 5
    assert text.strip() in read(f"<body><div class='sidebar'><p>{text}</p></div></body>").text


@pytest.mark.parametrize(
    "answer",
    [
        "<details><summary>Show answer</summary><p>The answer is 42.</p></details>",
        "<button>Show answer</button><div class='answer' style='display:none'>The answer is 42.</div>",
        "<a href='#'>Show solution</a><div id='x1' style='display: none'><p>The answer is 42.</p></div>",
        "<div class='spoiler' hidden>The answer is 42.</div>",
        "<div class='accordion'><div class='panel' style='display:none'>The answer is 42.</div></div>",
    ],
)
def test_hidden_answers_are_kept(answer: str) -> None:
    assert "The answer is 42." in read(f"<h1>Q</h1><p>What is six times seven?</p>{answer}").text


def test_hidden_rest_is_dropped() -> None:
    page = read("<p>What is six times seven?</p><div style='display:none'><p>Track me.</p></div>")
    assert "Track me" not in page.text
    assert page.dropped["hidden"] == 1


def test_layout_tables_are_not_rows() -> None:
    page = read("<table><tr><td><b>ann</b></td><td><p>First paragraph.</p><p>Second one.</p></td></tr></table>")
    assert page.text.split("\n") == ["ann", "First paragraph.", "Second one."]


THREADS = {
    "board": (
        "<div class='post' id='p1'><div class='author'>ann</div><div class='date'>2024-05-01 10:30</div><div class='votes'>3</div>"
        "<div class='post-body'><p>How do I halve a number?</p></div></div>"
        "<div class='post accepted' id='p2'><div class='author'>bob</div><div class='date'>2 days ago</div><div class='votes'>+12</div>"
        "<div class='post-body'><p>Divide it by two.</p><pre>x / 2</pre></div></div>",
        [("ann", "2024-05-01 10:30", 3, False), ("bob", "2 days ago", 12, True)],
    ),
    "one line about each": (
        "<article class='reply'><p class='meta'>Posted by ann on May 1, 2024</p><p>How do I halve a number?</p></article>"
        "<article class='reply'><p class='meta'>Posted by bob on May 3, 2024</p><p>Divide it by two.</p></article>",
        [("ann", "May 1, 2024", None, False), ("bob", "May 3, 2024", None, False)],
    ),
    "nothing but posts": (
        "<div class='message'><p>How do I halve a number?</p></div><div class='message'><p>Divide it by two.</p></div>",
        [("", "", None, False), ("", "", None, False)],
    ),
}


@pytest.mark.parametrize("name", THREADS)
def test_posts_of_a_thread_stay_separate(name: str) -> None:
    html, expected = THREADS[name]
    page = read(f"<h1>Halving</h1><div id='thread'>{html}</div>", url="https://a.example/forum/thread-1")
    assert [(post.author, post.time, post.votes, post.accepted) for post in page.posts] == expected
    said = [" ".join(page.text[start:end] for start, end in post.spans) for post in page.posts]
    assert said[0] == "How do I halve a number?"
    assert said[1].startswith("Divide it by two.")


def test_pages_without_threads_have_no_posts() -> None:
    assert read(BOILERPLATE).posts == []


@pytest.mark.parametrize("html", [b"", b"   \n", b"\x00\x00\x00"])
def test_empty_page(html: bytes) -> None:
    with pytest.raises(PageRejected) as rejected:
        extract_page(html, url="https://a.example/")
    assert rejected.value.reason == "empty_page"


def test_limits_are_rejects() -> None:
    with pytest.raises(PageRejected) as rejected:
        read("<div>" * (MAX_DEPTH + 10) + "x")
    assert rejected.value.reason == "too_large"
    with pytest.raises(PageRejected) as rejected:
        read("<b>x</b>" * 300_000)
    assert rejected.value.reason == "too_large"


HOSTILE = {
    "deep inline": "<b>" * 100_000 + "x",
    "deep lists": "<ul><li>" * 900 + "x",
    "deep tables": "<table><tr><td>" * 600 + "x",
    "megabyte attribute": f"<p class='{'a-' * 500_000}'>x</p>",
    "many classes": "".join(f"<div class='c{n} d{n}'>x</div>" for n in range(20_000)),
    "open delimiters": "<p>" + "\\[" * 100_000 + "</p>",
    "open delimiters in blocks": "<p>" + ("\\( a $ b " * 900) + "</p>" * 1,
    "dollars": "<p>" + "$ a " * 50_000 + "</p>",
    "subscripts": "<p>" + "a" * 200_000 + "<sub>1</sub>" + "b<sub>" * 1_900 + "</p>",
    "deep mathml": "<math>" + "<mrow>" * 1_500 + "<mi>x</mi>",
    "wide mathml": "<math>" + "<mi>x</mi>" * 20_000 + "</math>",
    "json-ld nest": "<script type='application/ld+json'>" + "[" * 100_000 + '"Question"' + "</script><p>x",
    "json-ld broken": "<script type='application/ld+json'>{\"@type\": \"Question\", </script><p>x",
    "json-ld half a pair": r"""<script type='application/ld+json'>{"@type": "Question", "name": "Is it \ud83d?",
        "acceptedAnswer": {"text": "So it is \ude00."}}</script><p>x""",
    "nul": "a\x00b<p\x00>c",
    "private use": "\ue000\ue001\ue004x\ue006",
    "surrogates": "&#xD800; &#x110000; &#0;",
    "questions": "<p>Question 1</p><p>Answer</p>" * 3_000,
    "one long question": "<h2>" + "why? " * 60_000 + "</h2><p>so</p>",
    "many headings": "<h2>Is it so or not?</h2><p>Yes.</p>" * 2_000,
    "many details": "<p>What is it?</p><details><summary>Show answer</summary>x</details>" * 1_500,
    "numbered": "<ol>" + "<li>Find x.</li>" * 2_000 + "</ol><h2>Answers</h2><ol>" + "<li>1</li>" * 2_000 + "</ol>",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_end_quickly(name: str) -> None:
    started = time.process_time()
    try:
        check_page(read(f"<body>{HOSTILE[name]}</body>"))
    except PageRejected:
        pass
    assert time.process_time() - started < 10


def check_page(page: Page) -> None:
    """What holds of every page, however broken."""
    json.dumps([page.text, page.markup_rejects], ensure_ascii=False).encode()  # can be written
    assert [page.text[line.start : line.end] for line in page.lines] == (page.text.split("\n") if page.lines else [])
    for pair in page.markup_pairs:
        assert pair.question == "\n".join(page.text[start:end] for start, end in pair.question_spans)
        assert pair.answer == "\n".join(page.text[start:end] for start, end in pair.answer_spans)
        assert pair.question.strip() and pair.answer.strip()
        for start, end in (*pair.question_spans, *pair.answer_spans):
            assert 0 <= start < end <= len(page.text)


SEEDS = [
    BOILERPLATE,
    "<dl><dt>What is an atom?</dt><dd>The smallest part of an element, <b>H<sub>2</sub></b>.</dd></dl><p>Q: Is $x^2$ it?</p><p>A: Yes.</p>",
    "<div itemscope itemtype='https://schema.org/Question'><h2 itemprop='name'>Why is it so?</h2><div itemprop='acceptedAnswer' "
    "itemscope itemtype='https://schema.org/Answer'><p itemprop='text'>Because \\(a\\).</p></div></div>",
    "<h2>Question 1</h2><p>Find x.</p><h3>Solution</h3><table><tr><td>1</td><td>2</td></tr></table><pre>x\n y</pre><math><mfrac><mi>a</mi><mn>2</mn></mfrac></math>",
    "<div class='post'><p>How?</p></div><div class='post accepted'><p>So.</p></div><ol><li>Find it.</li><li>Name it.</li></ol><h2>Answers</h2><p>1. a 2. b</p>",
]  # fmt: skip
PIECES = [b"<", b">", b"</div>", b"<table>", b"</p>", b"<li>", b"<td>", b"\x00", b"\xff\xfe", b"&", b"&#x", b'"', b"<!--", b"<script>", b"<svg>", b"<details>", b"\\(", b"$", b"<math>", b"\xc3"]  # fmt: skip


def test_fuzzed_pages_crash_nothing() -> None:
    chance = random.Random(7)
    for number in range(400):
        html = bytearray(chance.choice(SEEDS).encode())
        for _ in range(chance.randint(1, 12)):
            place = chance.randrange(len(html) + 1)
            match chance.randrange(4):
                case 0:
                    html[place:place] = chance.choice(PIECES)
                case 1:
                    del html[place : place + chance.randint(1, 30)]
                case 2:
                    html[place : place + 1] = bytes([chance.randrange(256)])
                case _:
                    html = html[: max(place, 10)] + html[: chance.randrange(len(html))]
        try:
            check_page(extract_page(bytes(html), url=f"https://fuzz.example/{number}"))
        except PageRejected:
            pass


@pytest.mark.parametrize(("seed", "count"), [(1, 1_500), pytest.param(7, 10_000, marks=pytest.mark.slow)])
def test_hostile_pages_crash_nothing(seed: int, count: int) -> None:
    module = "webinstruct_assets_tests.stages.pages.hostile"
    done = subprocess.run(
        [sys.executable, "-m", module, str(seed), str(count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    outcomes = json.loads(done.stdout)["outcomes"]
    assert sum(outcomes.values()) == count
    assert {"page", "too_large", "unknown_charset"} <= set(outcomes)


def test_a_page_has_a_time_limit() -> None:
    with pytest.raises(PageRejected) as rejected:
        extract_page(b"<p>What is it?</p>" * 1_000, url="https://a.example/", max_seconds=0)
    assert rejected.value.reason == "too_slow"
