"""Each rule finds its pairs, as verbatim spans, and nothing where it should not."""

import json

import pytest

from webinstruct_assets.stages.pages.html import extract_page

FILLER = "<p>The rest of the page talks about something else at some length and asks for nothing in particular.</p>" * 3


def pairs(body: str, *, head: str = "", url: str = "https://a.example/x") -> list[tuple[str, str, str]]:
    page = extract_page(f"<html><head>{head}</head><body>{body}</body></html>".encode(), url=url)
    for pair in page.markup_pairs:
        assert pair.question == "\n".join(page.text[s.start : s.end] for s in pair.question_spans)
        assert pair.answer == "\n".join(page.text[s.start : s.end] for s in pair.answer_spans)
    return [(pair.rule, pair.question, pair.answer) for pair in page.markup_pairs]


def ld(*questions: dict[str, object], kind: str = "FAQPage") -> str:
    data = {"@context": "https://schema.org", "@type": kind, "mainEntity": list(questions)}
    return f"<script type='application/ld+json'>{json.dumps(data)}</script>"


QUESTION = {
    "@type": "Question",
    "name": "Is H2O water?",
    "acceptedAnswer": {"@type": "Answer", "text": "<p>Yes, it <b>is</b>.</p>"},
}


def test_json_ld_is_found_on_the_page() -> None:
    body = "<h2>Is H<sub>2</sub>O water?</h2><div><p>Yes,  it is.</p></div>" + FILLER
    assert pairs(body, head=ld(QUESTION)) == [("json_ld", r"Is $\mathrm{H_2O}$ water?", "Yes, it is.")]


def test_json_ld_not_on_the_page_is_a_reject() -> None:
    page = extract_page(f"<body>{FILLER}{ld(QUESTION)}</body>".encode(), url="https://a.example/")
    assert page.markup_pairs == []
    assert [(rule, reason) for rule, reason, _ in page.markup_rejects] == [("json_ld", "markup_not_on_page")]


def test_json_ld_takes_the_accepted_or_voted_answer() -> None:
    entry = {
        "@type": "Question", "name": "Short title", "text": "Why does ice float on water?", "suggestedAnswer": [
            {"@type": "Answer", "text": "No idea at all.", "upvoteCount": 0},
            {"@type": "Answer", "text": "It is less dense.", "upvoteCount": "7"},
        ],
    }  # fmt: skip
    body = "<h1>Short title</h1><p>Why does ice float on water?</p><p>No idea at all.</p><p>It is less dense.</p>"
    assert (
        pairs(body, head=ld(entry, kind="QAPage"))
        == [("json_ld", "Short title\nWhy does ice float on water?", "It is less dense.")]
        or pairs(body, head=ld(entry, kind="QAPage"))[0][2] == "It is less dense."
    )


def test_unreadable_json_ld_is_a_reject() -> None:
    page = extract_page(
        b"<script type='application/ld+json'>{'Question'}</script><p>Text.</p>", url="https://a.example/"
    )
    assert [reason for _, reason, _ in page.markup_rejects] == ["markup_unreadable"]


@pytest.mark.parametrize("rdfa", [False, True])
def test_microdata_and_rdfa(rdfa: bool) -> None:
    scope, prop = (
        ("typeof='{}'", "property='{}'") if rdfa else ("itemscope itemtype='https://schema.org/{}'", "itemprop='{}'")
    )
    body = (
        f"<div {scope.format('Question')}><h3 {prop.format('name')}>What is a prime?</h3>"
        f"<div {prop.format('acceptedAnswer')} {scope.format('Answer')}><b>Expert</b>"
        f"<div {prop.format('text')}><p>A number with two divisors.</p><p>Two is one.</p></div></div></div>"
    )
    assert pairs(body + FILLER) == [("microdata", "What is a prime?", "A number with two divisors.\nTwo is one.")]


def test_forum_accepted() -> None:
    body = """<h1>Limits</h1>
    <div class="post"><div class="post-meta">ann, 4 Nov 2019</div><p>What is the limit of 1/n?</p></div>
    <div class="post"><div class="post-meta">bob</div><p>One, I think?</p></div>
    <div class="post is-accepted"><div class="post-meta">eve</div><p>Best answer</p><p>Zero.</p></div>"""
    assert pairs(body, url="https://a.example/forum/1") == [("forum_accepted", "What is the limit of 1/n?", "Zero.")]


def test_forum_without_accepted_answer_is_left_to_the_llm() -> None:
    body = "<div class='post'><p>What is the limit of 1/n?</p></div><div class='post'><p>Zero.</p></div>"
    assert pairs(body, url="https://a.example/forum/1") == []


def test_details() -> None:
    body = """<div><p>Solve x + 1 = 3.</p><details><summary>Show answer</summary><p>x = 2</p></details></div>
    <div><p>Solve x + 1 = 4.</p><details><summary>Hint</summary><p>Subtract.</p></details>
    <details><summary>Solution</summary><p>x = 3</p></details></div>
    <details><summary>Why does it work?</summary>Both sides stay equal.</details>
    <details><summary>About this site</summary>It is old.</details>"""
    assert pairs(body) == [
        ("details", "Solve x + 1 = 3.", "x = 2"), ("details", "Solve x + 1 = 4.", "x = 3"),
        ("details", "Why does it work?", "Both sides stay equal."),
    ]  # fmt: skip


def test_answer_blocks() -> None:
    body = (
        FILLER
        + """<p><b>Example 1.</b> Find 3 + 4.</p><div class="solution"><p>It is 7.</p><p>Count.</p></div>"""
        + FILLER
    )
    body += """<div class="item"><p class="question">What is 5 + 6?</p><div class="answer" style="display:none">Answer: 11</div></div>"""
    assert pairs(body) == [
        ("answer_block", "Find 3 + 4.", "It is 7.\nCount."),
        ("answer_block", "What is 5 + 6?", "11"),
    ]


def test_stem_shared_by_lettered_parts() -> None:
    body = """<div class="stem">A car of mass 800 kg moves at 20 m/s along a road.</div>
    <table><tr><th>Part</th><th>Task</th><th>Model answer</th></tr>
    <tr><td>a</td><td>Find its momentum.</td><td>16000 kg m/s</td></tr>
    <tr><td>b</td><td>Find its kinetic energy.</td><td>160 kJ</td></tr></table>"""
    stem = "A car of mass 800 kg moves at 20 m/s along a road.\n"
    assert pairs(body) == [
        ("question_table", stem + "Find its momentum.", "16000 kg m/s"),
        ("question_table", stem + "Find its kinetic energy.", "160 kJ"),
    ]


def test_definition_lists_ask() -> None:
    body = "<dl><dt>What is an ion?</dt><dd>A charged atom.</dd><dd>Or molecule.</dd><dt>Atom</dt><dd>Smallest part.</dd></dl>"
    assert pairs(body) == [("definition_list", "What is an ion?", "A charged atom.\nOr molecule.")]


def test_marked_q_and_a() -> None:
    body = "<p><b>Q:</b> What is 1 + 1?</p><p><b>A:</b> Two.</p><p>Q2. What is 2 + 2?</p><p>Answer: Four.</p>" + FILLER
    assert pairs(body) == [("marked", "What is 1 + 1?", "Two."), ("marked", "What is 2 + 2?", "Four.")]


def test_marked_questions_with_headings() -> None:
    body = """<h2>Question 1</h2><p>Write a function that doubles.</p><h3>Solution</h3><p>Multiply:</p><pre>x * 2</pre>
    <h2>Question 2</h2><p>Write one that halves.</p><h3>Solution</h3><p>Divide.</p><h2>Notes</h2><p>That is all.</p>"""
    assert pairs(body) == [
        ("marked", "Write a function that doubles.", "Multiply:\n```\nx * 2\n```"), ("marked", "Write one that halves.", "Divide."),
    ]  # fmt: skip


def test_marked_inside_one_paragraph() -> None:
    body = FILLER + "<p><b>Example 2.1.</b> Solve x + 2 = 5. <i>Solution.</i> x = 3, by subtraction.</p>" + FILLER
    assert pairs(body) == [("marked", "Solve x + 2 = 5.", "x = 3, by subtraction.")]


KEYED = "<h1>Test</h1><ol><li>What is 1 + 1?</li><li>What is 2 + 2?</li></ol>"


@pytest.mark.parametrize(
    ("key", "answers"),
    [
        ("<h2>Answers</h2><ol><li>Two</li><li>Four</li></ol>", ("Two", "Four")),
        (
            "<h2>Answer key</h2><p>1. Two</p><p>2. Four</p><p>Well done, all of you, and see you next week.</p>",
            ("Two", "Four"),
        ),
        ("<p>Key: 1 B; 2 D</p>", ("B", "D")),
        ("<p><b>Answers</b></p><p>1. Two 2. Four</p>", ("Two", "Four")),
        (
            "<h2>Solutions</h2><table><tr><td>1</td><td>Two</td></tr><tr><td>2</td><td>Four</td></tr></table>",
            ("Two", "Four"),
        ),
    ],
)
def test_answer_keys(key: str, answers: tuple[str, str]) -> None:
    assert pairs(KEYED + key) == [
        ("answer_key", "What is 1 + 1?", answers[0]),
        ("answer_key", "What is 2 + 2?", answers[1]),
    ]


def test_choices_belong_to_the_question() -> None:
    body = "<p>1. Which is even?</p><p>A. 3<br>B. 4</p><p>2. Which is odd?</p><p>A. 5<br>B. 6</p><h2>Answers</h2><p>1 B 2 A</p>"
    assert pairs(body) == [
        ("answer_key", "Which is even?\nA. 3\nB. 4", "B"),
        ("answer_key", "Which is odd?\nA. 5\nB. 6", "A"),
    ]


def test_heading_questions_on_faq_pages() -> None:
    body = "<h1>FAQ</h1><h2>Is it free of charge?</h2><p>Yes.</p><p>It is free.</p><h2>How does it work?</h2><p>Well enough.</p>"
    assert pairs(body) == [
        ("heading_question", "Is it free of charge?", "Yes.\nIt is free."),
        ("heading_question", "How does it work?", "Well enough."),
    ]


@pytest.mark.parametrize(
    "body",
    [
        "<h1>Who needs a bypass?</h1><p>Every few years somebody asks for a road around our town.</p>" + FILLER,
        "<h2>News</h2><p>Rain.</p><h2>Is it the end?</h2><p>No.</p><h2>Sport</h2><p>Lost again.</p>",
        "<ol><li>Which tissue carries sugars?</li><li>Name the pores of a leaf.</li></ol>" + FILLER,
        "<h2>Questions</h2><ul><li>What is an ion?</li><li>What is an atom?</li></ul>",
        "<p>Solution: press the red button and wait for a minute or two.</p>" + FILLER,
        "<dl><dt>Ion</dt><dd>A charged atom.</dd></dl>",
    ],
)
def test_no_pairs_where_nothing_is_answered(body: str) -> None:
    assert pairs(body) == []
