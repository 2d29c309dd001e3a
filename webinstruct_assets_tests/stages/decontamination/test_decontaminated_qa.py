"""decontaminated_qa: planted benchmark items are found however they are written, clean pages survive."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from webinstruct_assets.core.errors import MissingInput, QualityGate
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import execute, identify
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA
from webinstruct_assets.stages.decontamination.index import BenchmarkIndex, BenchmarkItem, Match
from webinstruct_assets.stages.decontamination.paraphrase import ParaphraseIndex
from webinstruct_assets.stages.decontamination.words import words
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets_tests.partitions import filled, publish

LETTERS = "ABCDEFGHIJ"


def item(question: str, answer: str = "", **fields: Any) -> BenchmarkItem:
    return BenchmarkItem("bench", "1", question, answer, **fields)


def found(index: BenchmarkIndex, text: str) -> list[tuple[str, str]]:
    return [(match.item_id, match.field) for match in index.find(text)]


# -- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Let's find the AREA.", "let’s  find\nthe area"),
        (r"Solve $x^2 + 3x = 10$ for $x$.", r"solve \(x^{2}+3x=10\) for \(x\)"),
        ("x² + 3x = 10", "$x^2+3x=10$"),
        (r"an angle of $\alpha$", "an angle of α"),
        (r"\frac{1}{2} \cdot 6", "1/2 · 6"),
        (r"\left( \dfrac{a}{b} \right)", "(a/b)"),
        ("$1,250.50", r"\$1{,}250.50"),
        (r"12 \text{ cm}", "12 cm"),
        ("ﬁnd soft\u00adware\u200b", "find software"),
    ],
)
def test_notation_does_not_matter(one: str, other: str) -> None:
    assert words(one) == words(other)


def test_content_does_matter() -> None:
    assert words("x + 2") != words("x + 3")
    assert words("1.5 kg") != words("15 kg")
    assert words("(1, 2, 3)") == ["1", "2", "3"]


# -- the rule ----------------------------------------------------------------------------------------------

TEN = "A farmer owns seven brown goats and eleven white sheep altogether"  # 11 words


def test_ten_words_in_a_row_are_a_hit_and_nine_are_not() -> None:
    index = BenchmarkIndex([item(TEN)])
    assert found(index, f"Yesterday: {' '.join(TEN.split()[:10])}, or so.") == [("1", "question")]
    assert found(index, f"Yesterday: {' '.join(TEN.split()[:9])}, or so.") == []
    assert found(index, TEN.replace("goats", "big goats")) == []


@pytest.mark.parametrize("field", ["question", "answer", "solution"])
def test_questions_answers_and_solutions_count(field: str) -> None:
    texts = {"question": "Is that so?", "answer": "42", "solution": "", field: TEN}
    assert found(BenchmarkIndex([item(**texts)]), TEN) == [("1", field)]


def test_three_to_nine_words_match_as_a_whole_only() -> None:
    index = BenchmarkIndex([item("How tall is the lighthouse keeper?", "nine cubits and a span")])
    assert found(index, "Well, how TALL is the lighthouse-keeper? Nobody knows.") == [("1", "question")]
    assert found(index, "How tall is the lighthouse?") == []
    assert found(index, "It was nine cubits and a span in all.") == [("1", "answer")]
    assert found(index, "It was nine cubits and a half.") == []


@pytest.mark.parametrize(
    "answer", ["42", "C", "about 7", r"$\frac{1}{2}$", "(1, 2, 3)", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
)
def test_short_and_wordless_answers_kill_nothing(answer: str) -> None:
    index = BenchmarkIndex([item(TEN, answer)])
    assert found(index, f"The answer is {answer} or C or 42. Pages: 0 1 2 3 4 5 6 7 8 9 10 1/2 about 7") == []


def test_choices_count_with_their_stem() -> None:
    choices = ("It grows without any bound whatsoever as the sample grows", "all of the above", "none", "It shrinks")
    index = BenchmarkIndex([item("Which of these is true here?", "A", choices=choices)])
    assert found(index, "So, which of these is true here?") == [("1", "question")]
    assert found(index, "It grows without any bound whatsoever as the sample grows, we think.") == [("1", "question")]
    assert found(index, "Pick: all of the above.") == []
    listed = "(A) It grows without any bound whatsoever (B) all"
    assert found(index, listed) == []


def test_a_short_question_shared_by_different_items_names_none() -> None:
    items = [BenchmarkItem("bench", str(n), "Which statement is true?", "A", (f"fact {n}", "none")) for n in range(2)]
    assert found(BenchmarkIndex(items), "Which statement is true?") == []


def test_the_strongest_item_comes_first_with_its_longest_stretch() -> None:
    items = [item(" ".join(TEN.split()[:10]) + " somewhere"), BenchmarkItem("bench", "2", TEN, "")]
    first, second = BenchmarkIndex(items).find(f"… {TEN.upper()}!")
    assert first == Match("bench", "2", "question", TEN.lower())
    assert second.item_id == "1"


# -- the real sets -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_items(shared_real: Path) -> list[BenchmarkItem]:
    folder = shared_real / "benchmarks"

    def lines(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    def records(name: str) -> list[dict[str, Any]]:
        return json.loads((folder / name).read_text())

    made = [BenchmarkItem("gsm8k", str(n), r["question"], r["answer"]) for n, r in enumerate(lines("gsm8k_test.jsonl"))]
    made += [
        BenchmarkItem("math", r["id"], r["problem"], "", (), r["solution"]) for r in lines("math_500_of_test.jsonl")
    ]
    made += [
        BenchmarkItem("theoremqa", r["id"], r["Question"], str(r["Answer"])) for r in records("theoremqa_test.json")
    ]
    made += [
        BenchmarkItem("mmlu", str(n), r["question"], LETTERS[r["answer"]], tuple(map(str, r["choices"])))
        for n, r in enumerate(records("mmlu_stem.json"))
    ]
    return made


@pytest.fixture(scope="module")
def real_index(real_items: list[BenchmarkItem]) -> BenchmarkIndex:
    return BenchmarkIndex(real_items)


def tex_variant(text: str) -> str:
    text = re.sub(r"\$\$(.+?)\$\$", r"\\[\1\\]", text, flags=re.DOTALL)
    text = re.sub(r"\$([^$]+)\$", r"\\( \1 \\)", text)
    return (
        text.replace("\\frac", "\\dfrac")
        .replace("\\cdot", "\\times ")
        .replace("(", "\\left(")
        .replace("\\\\left(", "\\(")
    )


PLANTED: dict[str, Callable[[str], str]] = {
    "verbatim": lambda text: text,
    "recased": str.upper,
    "respaced": lambda text: re.sub(r"\s+", " \n\t ", text),
    "unpunctuated": lambda text: re.sub(r"(?<=\w)[,.;:?!](?=\s|$)", " ", text),
    "latex": tex_variant,
}


@pytest.mark.parametrize("variant", PLANTED)
def test_planted_items_are_found(real_items: list[BenchmarkItem], real_index: BenchmarkIndex, variant: str) -> None:
    sample = [entry for entry in real_items if entry.benchmark != "mmlu" and len(words(entry.question)) >= 10][::40]
    assert len(sample) > 40
    missed = []
    for entry in sample:
        # TeX commands are case-sensitive, so upper-casing "\frac" leaves no TeX that a page could hold.
        plain = variant == "recased" and "\\" in entry.question
        text = f"Welcome to our site!\n{entry.question if plain else PLANTED[variant](entry.question)}\nContact us."
        if entry.item_id not in {match.item_id for match in real_index.find(text)}:
            missed.append((entry.item_id, entry.question))
    assert missed == []


def test_stems_and_solutions_are_found(real_items: list[BenchmarkItem], real_index: BenchmarkIndex) -> None:
    stems = [entry for entry in real_items if entry.benchmark == "mmlu" and len(words(entry.question)) >= 10][::60]
    solved = [entry for entry in real_items if len(words(entry.solution)) >= 10][::20]
    for entry, text in [(e, e.question) for e in stems] + [(e, e.solution) for e in solved]:
        hits = real_index.find(text)
        assert hits and any(match.text in " ".join(words(text)) for match in hits), entry


def test_real_clean_pages_survive(shared_real: Path, real_index: BenchmarkIndex) -> None:
    raw = gzip.decompress((shared_real / "pages/web_pages_dev.warc.gz").read_bytes()).decode("utf-8", "replace")
    pages = raw.split("WARC/1.0")[1:]
    assert len(pages) > 500
    texts = [re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style).*?</\1>", " ", page)) for page in pages]
    assert [text[:80] for text in texts if real_index.find(text)] == []


# -- the stage ---------------------------------------------------------------------------------------------

SNAPSHOT = PartitionKey.of({"snapshot": "local-demo"})
CLEAN = "Why does the moon have phases? We see its lit half from changing sides as it goes round the earth in a month."


def prepare(ws: Workspace, benchmark_question: str) -> None:
    pages = {"pg-1": f"{CLEAN}\n{benchmark_question}", "pg-2": CLEAN, "pg-3": CLEAN}
    publish(
        ws,
        PAGES,
        SNAPSHOT,
        [filled(PAGES, id=name, url=f"https://x.example/{name}", text=text) for name, text in pages.items()],
    )
    pair = {"question": "Why does the moon have phases?", "answer": "We see its lit half from changing sides."}
    publish(ws, EXTRACTED_QA, SNAPSHOT, [
        filled(EXTRACTED_QA, id="qa-1", parent_id="pg-1", url="https://x.example/pg-1", **pair),
        filled(EXTRACTED_QA, id="qa-2", parent_id="pg-2", url="https://x.example/pg-2", **pair),
        filled(EXTRACTED_QA, id="qa-3", parent_id="pg-2", url="https://x.example/pg-2", question=benchmark_question.upper(), answer="176"),
        filled(EXTRACTED_QA, id="qa-4", parent_id="pg-3", url="https://x.example/pg-3", **pair),
    ])  # fmt: skip
    execute(BENCHMARK_ITEMS, PartitionKey.of({"benchmark": "demo-stem"}), ws, log=print, run_id="test")


@pytest.fixture
def demo_question(workspace: Workspace) -> str:
    path = workspace.root / "data/demo/benchmarks/demo-stem.jsonl"
    return json.loads(path.read_text().splitlines()[0])["question"]


@pytest.mark.parametrize(("level", "kept"), [("page", ["qa-4"]), ("pair", ["qa-1", "qa-2", "qa-4"])])
def test_the_stage_drops_pages_or_pairs(workspace: Workspace, demo_question: str, level: str, kept: list[str]) -> None:
    config = workspace.config.model_copy(
        update={"decontamination": workspace.config.decontamination.model_copy(update={"level": level})}
    )
    workspace.files.environment = config
    prepare(workspace, demo_question)
    manifest = execute(DECONTAMINATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    assert workspace.lake.read(manifest)["parent_id"].to_list() == kept
    assert manifest.rows_in == 4 == manifest.rows_kept + manifest.rejected["contaminated"]
    rejects = pl.read_parquet(workspace.lake.reject_paths(manifest))
    assert set(rejects["reason"]) == {"contaminated"}
    assert all("demo-stem/demo-stem-001" in detail and "vegetable plot" in detail for detail in rejects["detail"])
    hits = pl.read_parquet(workspace.lake.file(manifest, "hits.parquet"))
    places = {"page": {("page", "pg-1", ""), ("question", "pg-2", "qa-3")}, "pair": {("question", "pg-2", "qa-3")}}
    assert set(hits.select("place", "page_id", "pair_id").iter_rows()) == places[level]
    (counts,) = manifest.metrics["by_benchmark"]
    dropped = {"pages_dropped": 2 if level == "page" else 1, "pairs_dropped": 4 - len(kept)}
    assert counts == {
        "benchmark": "demo-stem", "items": 48, "items_hit": 1, **dropped,
        "pages_dropped_with_common": dropped["pages_dropped"], "pairs_dropped_with_common": dropped["pairs_dropped"],
        "example": f"demo-stem-001: {hits['matched'][0]}",
    }  # fmt: skip


def with_settings(ws: Workspace, **changes: Any) -> None:
    rule = ws.config.decontamination.model_copy(update=changes)
    ws.files.environment = ws.config.model_copy(update={"decontamination": rule})


def test_grams_that_the_crawl_is_full_of_are_no_evidence(workspace: Workspace, demo_question: str) -> None:
    execute(BENCHMARK_ITEMS, PartitionKey.of({"benchmark": "demo-stem"}), workspace, log=print, run_id="test")
    phrase = " ".join(demo_question.split()[:12])
    texts = {f"pg-{number}": f"{phrase} and so on, page {number}." for number in range(1, 4)}
    texts["pg-4"] = demo_question
    publish(workspace, PAGES, SNAPSHOT, [filled(PAGES, id=name, text=text) for name, text in texts.items()])
    publish(
        workspace, EXTRACTED_QA, SNAPSHOT,
        [filled(EXTRACTED_QA, id=f"qa-{name}", parent_id=name, question="Why?", answer="So.") for name in texts],
    )  # fmt: skip
    with_settings(workspace, common_min_pages=4)
    manifest = execute(DECONTAMINATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    # Every page holds the phrase's three grams; only the last one holds more of the question.
    assert workspace.lake.read(manifest)["parent_id"].to_list() == ["qa-pg-1", "qa-pg-2", "qa-pg-3"]
    metrics = manifest.metrics
    assert (metrics["common_grams"], metrics["pairs_dropped"], metrics["pairs_dropped_with_common"]) == (3, 1, 4)
    (counts,) = metrics["by_benchmark"]
    assert (counts["pages_dropped"], counts["pages_dropped_with_common"]) == (1, 4)
    common = pl.read_parquet(workspace.lake.file(manifest, "common.parquet"))
    assert common["pages"].to_list() == [4, 4, 4]
    assert all(row in " ".join(words(phrase)) for row in common["words"])
    assert common["items"].to_list() == [["demo-stem/demo-stem-001"]] * 3
    hits = pl.read_parquet(workspace.lake.file(manifest, "hits.parquet"))
    assert dict(hits.select("page_id", "common").iter_rows()) == {
        "pg-1": True, "pg-2": True, "pg-3": True, "pg-4": False,
    }  # fmt: skip
    with_settings(workspace, common_share=None)
    with pytest.raises(QualityGate, match="'contaminated': 4"):
        execute(DECONTAMINATED_QA, SNAPSHOT, workspace, log=print, run_id="test")


def test_a_benchmark_added_later_is_checked_without_extracting_again(workspace: Workspace, demo_question: str) -> None:
    prepare(workspace, demo_question)
    first = execute(DECONTAMINATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    extracted = Ref("extracted_qa", SNAPSHOT)
    before = workspace.lake.manifest_sha256(extracted)
    # A new file in config/benchmarks, its item the pair that was clean so far.
    (workspace.root / "config/benchmarks/moon.yaml").write_text(
        yaml.safe_dump({
            "description": "t", "file": "data/moon.jsonl", "fields": {"question": "q", "answer": "a"},
            "fewshot": "data/demo/benchmarks/demo-stem-fewshot.jsonl", "shots": 0, "grader": "text",
        })
    )  # fmt: skip
    (workspace.root / "data/moon.jsonl").write_text(json.dumps({"q": CLEAN.partition("?")[2], "a": "42"}))
    later = Workspace.open(workspace.root)
    later.files.environment = later.config.model_copy(update={"benchmarks": ["demo-stem", "moon"]})
    execute(BENCHMARK_ITEMS, PartitionKey.of({"benchmark": "moon"}), later, log=print, run_id="test")
    assert identify(DECONTAMINATED_QA, SNAPSHOT, later).fingerprint != first.fingerprint
    with pytest.raises(QualityGate, match="contaminated"):  # every page repeats it
        execute(DECONTAMINATED_QA, SNAPSHOT, later, log=print, run_id="test")
    assert later.lake.manifest_sha256(extracted) == before
    assert "benchmark" not in str(EXTRACTED_QA.inputs(later, SNAPSHOT)) + str(EXTRACTED_QA.settings(later, SNAPSHOT))
    # At level pair the answers alone share nothing with it.
    with_settings(later, level="pair")
    second = execute(DECONTAMINATED_QA, SNAPSHOT, later, log=print, run_id="test")
    assert [entry["benchmark"] for entry in second.metrics["by_benchmark"]] == ["demo-stem", "moon"]
    assert second.rows == 3


def test_the_second_tier_finds_paraphrases_when_it_is_on(workspace: Workspace, demo_question: str) -> None:
    changed = demo_question.split()
    changed[4::6] = ["other"] * len(changed[4::6])
    prepare(workspace, " ".join(changed))
    off = execute(DECONTAMINATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    assert off.rejected == {}
    with_settings(workspace, paraphrase_ratio=0.6, level="pair")
    on = execute(DECONTAMINATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    assert on.rejected == {"contaminated": 1}
    (hit,) = pl.read_parquet(workspace.lake.file(on, "hits.parquet")).iter_rows(named=True)
    assert (hit["tier"], hit["item_id"], hit["pair_id"]) == ("paraphrase", "demo-stem-001", "qa-3")
    assert 0.6 <= hit["ratio"] < 1


def test_paraphrases_of_the_real_sets(real_items: list[BenchmarkItem], shared_real: Path) -> None:
    """Every fifth word changed: the 10-gram rule sees none of them, the second tier nearly all, and no clean text."""
    long = [entry for entry in real_items if len(words(entry.question)) >= 20][::15]
    index = ParaphraseIndex(real_items)
    altered = []
    for entry in long:
        sequence = words(entry.question)
        sequence[2::5] = ["somewhat"] * len(sequence[2::5])
        altered.append(" ".join(sequence))
    found = index.find_many(altered, 0.6)
    right = sum(row in found and found[row].question == long[row].question for row in range(len(long)))
    assert right >= 0.95 * len(long)
    gold = [json.loads(line) for line in (shared_real / "pages/web_pages_dev.gold.jsonl").read_text().splitlines()]
    clean = [" ".join(str(value) for value in entry.values())[:1300] for entry in gold]
    assert index.find_many(clean, 0.6) == {}


def test_a_killed_run_does_only_the_rest_again(workspace: Workspace, demo_question: str) -> None:
    """Conservation and the same bytes after the run ended between two units."""
    with_settings(workspace, common_min_pages=2)
    prepare(workspace, demo_question)
    whole = execute(DECONTAMINATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    folder = workspace.lake.folder(DECONTAMINATED_QA.ref(SNAPSHOT))
    (folder / "manifest.json").unlink()
    (folder / whole.data_dir / "hits.parquet").unlink()
    (folder / whole.data_dir / "unit-00000.json").unlink()
    again = execute(DECONTAMINATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    assert again.data_version == whole.data_version
    assert again.rows_in == again.rows_kept + again.rejected_total


def test_a_benchmark_that_is_not_there_stops_the_stage_with_its_name(workspace: Workspace, demo_question: str) -> None:
    prepare(workspace, demo_question)
    workspace.files.environment = workspace.config.model_copy(update={"benchmarks": ["demo-stem", "gsm8k"]})
    with pytest.raises(MissingInput, match="benchmark_items/gsm8k"):
        execute(DECONTAMINATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
