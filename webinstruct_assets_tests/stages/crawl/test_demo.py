"""The demo web: its files hold what they promise, and its snapshot is the same every time."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from webinstruct_assets.core.errors import BadInput, MissingInput
from webinstruct_assets.core.warc import iter_records
from webinstruct_assets.stages.crawl.demo import build_demo_crawl, gold_domains, gold_pairs
from webinstruct_assets.stages.crawl.demo_math import render_tex
from webinstruct_assets.stages.crawl.demo_web import LAYOUTS, MATHS, load_demo_web
from webinstruct_assets.stages.crawl.source import CrawlSource

SITE = """name: A
tagline: B
kind: exam
educational: true
source_type: education
language: en
layout: classic
math: mathml
nav: [[Home, /]]
"""
PAGE = """---
title: "T"
subject: mathematics
written: individually
question_page: true
---
<h1>T</h1>
<p data-q="1 2">A stem with 10<sup>5</sup> things.</p><p>Q: <span data-q="1">How much is \\(a &lt; b\\)?</span></p>
<p data-q="2">Which? <b data-a="2">That one.</b></p><p><span data-a="1">It is \\[x^2\\] &amp; more</span></p>
<pre><code>\\(no tex\\)</code></pre>
"""


@pytest.fixture
def small(tmp_path: Path, demo_dir: Path) -> Path:
    """A demo web of one page."""
    demo = tmp_path / "demo"
    (demo / "web/a.example/sub").mkdir(parents=True)
    (demo / "web/a.example/site.yaml").write_text(SITE)
    (demo / "web/a.example/sub/page.html").write_text(PAGE)
    shutil.copytree(demo_dir / "layouts", demo / "layouts")
    return demo


def responses(root: Path) -> dict[str, bytes]:
    source = CrawlSource(str(root))
    return {
        item.url: item.payload
        for path in source.file_list("local-demo", "warc")
        for item in iter_records(source.open(path), path, on_reject=pytest.fail, types=("response",))
    }


def test_gold_text(small: Path) -> None:
    first, second = gold_pairs(small)
    assert first["question"] == "A stem with 10^5 things. How much is $a < b$?"
    assert first["answer"] == "It is $$x^2$$ & more"
    assert (second["question"], second["answer"]) == ("A stem with 10^5 things. Which?", "That one.")
    assert (first["url"], first["host"], first["pair"]) == ("https://a.example/sub/page", "a.example", 1)
    assert (first["subject"], first["written"], first["mirror_of"]) == ("mathematics", "individually", None)
    assert gold_domains(small) == [
        {"host": "a.example", "educational": True, "source_type": "education", "kind": "exam"}
    ]


def test_no_gold_mark_reaches_the_page(small: Path, tmp_path: Path) -> None:
    build_demo_crawl(small, tmp_path / "root")
    pages = responses(tmp_path / "root")
    assert sorted(pages) == ["https://a.example/", "https://a.example/sub/page"]
    page = pages["https://a.example/sub/page"].decode()
    assert "data-q" not in page
    assert "data-a" not in page
    assert "<p>Q: How much is <math" in page  # the span that only carried a mark is gone
    assert '<annotation encoding="application/x-tex">a &lt; b</annotation>' in page
    assert "<code>\\(no tex\\)</code>" in page


@pytest.mark.parametrize(
    ("file", "old", "new", "field"),
    [
        ("site.yaml", "kind: exam", "kind: exams", "kind"),
        ("site.yaml", "educational: true", "educational: maybe", "educational"),
        ("site.yaml", "layout: classic\n", "", "layout"),
        ("site.yaml", "tagline: B", "tagline:", "tagline"),
        ("site.yaml", "nav: [[Home, /]]", "nav: [Home]", "nav"),
        ("site.yaml", "nav: [[Home, /]]", "mirrors: [b.example/x]", "mirrors"),
        ("site.yaml", "name: A", "colour: red\nname: A", "colour"),
        ("site.yaml", "name: A", "name: [", "YAML"),
        ("site.yaml", "name: A", "level: hard\nname: A", "level"),
        ("sub/page.html", "---\ntitle", "title", "front matter"),
        ("sub/page.html", "subject:", 'copies: {1: "a.example/sub/page#7"}\nsubject:', "copies"),
        ("sub/page.html", "subject:", "defects: {1: dull}\nsubject:", "defects"),
        ("sub/page.html", "subject:", "defects: [1]\nsubject:", "defects"),
        ("sub/page.html", "subject: mathematics", "subject: maths", "subject"),
        ("sub/page.html", "question_page: true", "question_page: false", "question_page"),
        ("sub/page.html", 'data-a="1"', 'data-a="3"', "data-q/data-a"),
        ("sub/page.html", 'data-a="1"', 'data-a="one"', "data-a"),
        ("sub/page.html", "That one.", " ", "data-a"),
    ],
)
def test_wrong_files_are_named_with_the_field(small: Path, file: str, old: str, new: str, field: str) -> None:
    path = small / "web/a.example" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BadInput) as error:
        load_demo_web(small)
    assert f"{path}: field {field!r}" in error.value.problem


def test_no_web_and_no_layout(small: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"site\.yaml"):
        load_demo_web(tmp_path / "nowhere")
    (small / "layouts/wiki.html").unlink()
    with pytest.raises(BadInput, match=r"wiki\.html"):
        build_demo_crawl(small, tmp_path / "root")
    assert not (tmp_path / "root/crawl-data").exists()


def test_a_second_build_is_skipped_until_a_source_changes(small: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    first = build_demo_crawl(small, root)
    assert (first["built"], first["pages"], first["pairs"]) == (1, 2, 2)
    assert build_demo_crawl(small, root) == {**first, "built": 0}
    (small / "web/a.example/sub/page.html").write_text(PAGE.replace("Which?", "Which one?"))
    assert build_demo_crawl(small, root)["built"] == 1
    assert b"Which one?" in responses(root)["https://a.example/sub/page"]


def test_the_same_bytes_every_time(demo_dir: Path, demo_root: Path, tmp_path: Path) -> None:
    build_demo_crawl(demo_dir, tmp_path)
    files = sorted(path.relative_to(demo_root) for path in demo_root.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for file in files:
        assert (demo_root / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_the_demo_web_shows_the_variety_of_the_real_one(demo_dir: Path, demo_root: Path) -> None:
    web = load_demo_web(demo_dir)
    assert {site.layout for site in web.sites.values()} == set(LAYOUTS)
    assert {site.math for site in web.sites.values()} == set(MATHS)
    assert len({site.language for site in web.sites.values()}) == 3
    assert any(page.mirror_of for page in web.pages)
    pages = responses(demo_root)
    assert len(pages) == len(web.pages) + len(web.sites)  # and an index page each
    # Real classes of structure, not one template in nine colours.
    bodies = Counter(re.search(rb"(?i)<body[^>]*>", page)[0] for page in pages.values())  # type: ignore[index]
    assert len(bodies) >= len(LAYOUTS) - 1


def test_old_charsets_are_declared_and_used(demo_dir: Path, demo_root: Path) -> None:
    web = load_demo_web(demo_dir)
    pages = responses(demo_root)
    for language, charset, letter in (("es", "iso-8859-1", "ñ"), ("de", "windows-1252", "ä")):
        (host,) = [site.host for site in web.sites.values() if site.language == language]
        own = [page for url, page in pages.items() if url.startswith(f"https://{host}/")]
        assert all(f'charset="{charset}"'.encode() in page or f"charset={charset}".encode() in page for page in own)
        assert any(letter.encode(charset) in page for page in own)
        with pytest.raises(UnicodeDecodeError):
            b"".join(own).decode()


def test_mirrored_pairs_say_what_they_copy(demo_dir: Path) -> None:
    pairs = gold_pairs(demo_dir)
    by_url = {(pair["url"], pair["pair"]): pair for pair in pairs}
    assert len(by_url) == len(pairs)
    copies = [pair for pair in pairs if pair["mirror_of"]]
    assert copies
    for copy in copies:
        assert copy["duplicate_of"] == f"{copy['mirror_of']}#{copy['pair']}"
        original = by_url[copy["mirror_of"], copy["pair"]]
        assert (copy["question"], copy["answer"]) == (original["question"], original["answer"])
        assert copy["host"] != original["host"]
    reworded = [pair for pair in pairs if pair["duplicate_of"] and not pair["mirror_of"]]
    for copy in reworded:
        url, _, number = copy["duplicate_of"].partition("#")
        original = by_url[url, int(number)]
        assert (copy["question"], copy["answer"]) != (original["question"], original["answer"])
    assert len(reworded) == 9


def test_gold_files_are_those_of_the_sources(demo_dir: Path) -> None:
    for name, rows in (("gold", gold_pairs(demo_dir)), ("domains", gold_domains(demo_dir))):
        assert [json.loads(line) for line in (demo_dir / f"{name}.jsonl").read_text().splitlines()] == rows


@pytest.mark.parametrize("display", [False, True])
def test_styles_of_mathematics(display: bool) -> None:
    tex = r"\frac{a}{b} < 2"
    shown = {style: render_tex(tex, display, style) for style in MATHS}
    assert shown["mathjax"] == (r"\[\frac{a}{b} &lt; 2\]" if display else r"\(\frac{a}{b} &lt; 2\)")
    assert f">{tex}</script>" in shown["mathjax2"]
    assert ("mode=display" in shown["mathjax2"]) is display
    assert 'encoding="application/x-tex">\\frac{a}{b} &lt; 2</annotation>' in shown["katex"]
    assert "katex-html" in shown["katex"]
    assert ("katex-display" in shown["katex"]) is display
    assert "</annotation></semantics></math>" in shown["mathml"]
    assert "annotation" not in shown["mathml-plain"]
    assert "<mfrac>" in shown["mathml-plain"]
