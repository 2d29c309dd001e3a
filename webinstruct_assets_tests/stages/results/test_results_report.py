"""The report on scores that were planted: every number is known, what is missing stays missing, what is hostile stays text."""

import csv
import io
import math
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from scipy import stats

from webinstruct_assets.core.errors import ConfigError, MissingInput
from webinstruct_assets.core.ids import digest_file
from webinstruct_assets.core.intervals import wilson
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import Selection, closure, targets
from webinstruct_assets.stages.results.comparison import RESAMPLES, paired_bootstrap
from webinstruct_assets.stages.results.scores import results
from webinstruct_assets.stages.results.tables import missing_bases
from webinstruct_assets_tests.stages.results.evaluated import BASE, evaluated, report, trained, with_recipes

HOSTILE = "<script>alert(1)</script> | ![x](http://evil.example/x.png) **b** $\\frac{ \\input{/etc/passwd} & 50% `c`"

SEVEN = ["theoremqa", "math", "gsm8k", "gpqa-diamond", "mmlu-stem", "bbh", "arc-challenge"]


def first(right: int, of: int) -> list[bool]:
    return [at < right for at in range(of)]


def read(ws: Workspace, manifest: Manifest, name: str) -> str:
    return ws.lake.file(manifest, name).read_text(encoding="utf-8")


def records(ws: Workspace, manifest: Manifest, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read(ws, manifest, name))))


class Page(HTMLParser):
    """Tables as texts by section, and what a reader or an attacker would look for."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._section = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "h2":
            self._section = str(dict(attrs).get("id"))
        if tag == "tr":
            self.tables.setdefault(self._section, []).append([])
        if tag in ("th", "td"):
            self.tables[self._section][-1].append("")
        if tag == "small":
            self.tables[self._section][-1][-1] += " | "

    def handle_data(self, data: str) -> None:
        if self.tables.get(self._section) and self.tables[self._section][-1] and data.strip():
            self.tables[self._section][-1][-1] += data.strip()

    def cell(self, section: str, row: str, column: str) -> str:
        table = self.tables[section]
        (found,) = [line for line in table if line[0].split(" | ")[0] == row]
        return found[table[0].index(column)]


def test_every_number_of_a_cell(workspace: Workspace) -> None:
    ws = with_recipes(workspace, {"tuned": {}}, benchmarks=SEVEN)
    for name in (BASE, "tuned"):
        trained(ws, name)
    evaluated(ws, BASE, "gsm8k", first(10, 50))
    evaluated(ws, "tuned", "gsm8k", first(20, 50), paper=first(25, 50), contaminated=[0, 1, 2, 3, 4])
    manifest = report(ws)
    page = Page(read(ws, manifest, "report.html"))
    low, high = wilson(20, 50)
    cell = page.cell("main-corrected", "tuned", "GSM8K").split(" | ")
    assert cell[:2] == ["40.0", f"{100 * low:.1f}–{100 * high:.1f}"]
    delta = re.fullmatch(r"Δ \+20\.0 \(\+(\d+\.\d) to \+(\d+\.\d)\)", cell[2])
    assert delta and 5 < float(delta[1]) < 15 < 25 < float(delta[2]) < 35
    assert cell[3:] == ["uncontaminated 33.3, 45 items", "50 items"]
    assert page.cell("main-paper", "tuned", "GSM8K").split(" | ")[0] == "50.0"
    assert page.cell("main-paper", "tuned", "GSM8K").endswith("corrected 40.0")
    assert page.cell("main-corrected", BASE, "GSM8K").split(" | ")[0] == "20.0"
    # Active, and not evaluated: missing, and so is an average that needs it.
    for name in (BASE, "tuned"):
        assert page.cell("main-corrected", name, "ARC-C") == page.cell("main-corrected", name, "Average of 7") == "—"
    (row,) = [row for row in records(ws, manifest, "scores.csv") if row["recipe"] == "tuned"]
    assert (row["accuracy"], row["paper_accuracy"], row["clean_accuracy"]) == ("0.4", "0.5", "0.333333")
    assert (row["items"], row["contaminated_items"], row["training_rows"]) == ("50", "5", "3")
    assert ws.lake.read(manifest).height == manifest.rows == 2


def test_the_average_needs_all_seven(workspace: Workspace) -> None:
    ws = with_recipes(workspace, {"tuned": {}})
    for name in (BASE, "tuned"):
        trained(ws, name)
        for at, benchmark in enumerate(SEVEN):
            evaluated(ws, name, benchmark, first(2 * at + (name == "tuned"), 20))
    page = Page(read(ws, report(ws), "report.html"))
    mean = sum(2 * at + 1 for at in range(7)) / 7 / 20
    average = page.cell("main-corrected", "tuned", "Average of 7").split(" | ")
    assert average[0] == f"{100 * mean:.1f}" and average[2].startswith("Δ +5.0 (")
    assert page.tables["main-corrected"][0][1:] == [
        "TheoremQA", "MATH", "GSM8K", "GPQA", "MMLU-STEM", "BBH", "ARC-C", "Average of 7",
    ]  # fmt: skip


def test_a_family_shows_the_member_that_is_missing(workspace: Workspace) -> None:
    family = {"family": "scaling"}
    ws = with_recipes(
        workspace, {"s-1": {**family}, "s-2": {**family, "loss": "all"}, "s-3": {**family}, "other": {"family": "subsets"}}
    )  # fmt: skip
    for name, rows in ((BASE, 0), ("s-1", 10), ("s-2", 10)):
        trained(ws, name, rows=rows)
        evaluated(ws, name, "math", first(rows, 40))
    manifest = report(ws)
    page = Page(read(ws, manifest, "report.html"))
    assert [line[0].split(" | ")[0] for line in page.tables["scaling-corrected"][1:]] == [BASE, "s-1", "s-2", "s-3"]
    assert page.cell("scaling-corrected", "s-3", "MATH") == page.cell("scaling-paper", "s-3", "MATH") == "—"
    assert "subsets-corrected" not in page.tables  # nobody evaluated any of it
    curves = [
        attributes["alt"] for tag, attributes in page.tags if tag == "img" and "Line chart" in str(attributes["alt"])
    ]
    assert curves == [
        "Line chart, MATH by rows of training data. refined, LM loss: 10 rows 25.0 %; refined, SFT loss: 10 rows 25.0 %."
    ]
    assert ws.lake.file(manifest, "scaling-math.png").read_bytes().startswith(b"\x89PNG")


def test_a_base_that_was_not_evaluated_is_missing_by_name(workspace: Workspace) -> None:
    """With no recipe at all, then one that the environment does not list, then one that came too late."""
    ws = with_recipes(workspace, {"tuned": {}})
    environment = ws.root / "config/environments/demo.yaml"
    environment.write_text(yaml.safe_dump({**yaml.safe_load(environment.read_text()), "recipes": ["tuned"]}))
    base = ws.root / f"config/recipes/{BASE}.yaml"
    content = base.read_text()
    base.unlink()
    ws = Workspace.open(ws.root)
    trained(ws, "tuned")
    evaluated(ws, "tuned", "math", first(5, 10))

    def to_do() -> str | None:
        table = missing_bases(results(ws, ws.lake.manifests("benchmark_scores")))
        return table.rows[0][-1].text if table else None

    assert "`base_model: smollm2-135m` and `steps: 0`" in str(to_do())
    base.write_text(content)
    ws = Workspace.open(ws.root)
    manifest = report(ws)
    page = Page(read(ws, manifest, "report.html"))
    assert manifest.metrics["scores_without_base"] == 1 and "Base scores that are missing" in read(
        ws, manifest, "report.md"
    )
    assert page.cell("main-corrected", BASE, "MATH") == "—" and "Δ —" in page.cell("main-corrected", "tuned", "MATH")
    named = page.cell("missing-bases", "tuned", "To do")
    assert f"base scores: benchmark_scores/math|{BASE}, then benchmark_scores/math|tuned again" in named
    trained(ws, BASE)
    evaluated(ws, BASE, "math", first(4, 10))
    assert "was evaluated after it" in str(to_do())
    evaluated(ws, "tuned", "math", first(5, 10))
    assert to_do() is None


@pytest.mark.parametrize(
    ("recipe", "shots", "items", "shown"),
    [("mammoth2-7b", 4, 20, True), ("mammoth2-7b", 5, 20, False), ("mammoth2-7b", 4, 21, False), ("mine", 4, 20, False)],
)  # fmt: skip
def test_the_papers_number_stands_beside_the_same_setting_only(
    workspace: Workspace, recipe: str, shots: int, items: int, shown: bool
) -> None:
    ws = with_recipes(workspace, {recipe: {}})
    for name in (BASE, recipe):
        trained(ws, name)
        evaluated(ws, name, "gsm8k", first(9, 20), shots=shots, in_benchmark=items)
    manifest = report(ws)
    page = Page(read(ws, manifest, "report.html"))
    assert page.cell("main-paper", recipe, "GSM8K").endswith(" | paper 68.4") is shown
    assert "paper" not in page.cell("main-corrected", recipe, "GSM8K")
    assert "paper" not in page.cell("main-paper", BASE, "GSM8K")
    (row,) = [row for row in records(ws, manifest, "scores.csv") if row["recipe"] == recipe]
    assert row["published"] == ("68.4" if shown else "")
    assert ("textcolor{gray}{paper 68.4}" in read(ws, manifest, "main-paper.tex")) is shown
    (chart,) = [str(attributes["alt"]) for tag, attributes in page.tags if tag == "img"]
    assert ("Mixtral-8x7B-Instruct 71.7 (published)" in chart) is (items == 20) and f"{recipe} 45.0" in chart


@pytest.mark.parametrize(("judge", "shown"), [("gpt-4-0613", True), ("gpt-4o", False)])
def test_a_judged_benchmark_shows_what_its_protocol_publishes(workspace: Workspace, judge: str, shown: bool) -> None:
    ws = with_recipes(workspace, {"mammoth2-7b-plus": {}})
    rating = {"name": "rating", "value": 7.5, "low": 7.125, "high": 7.75}
    for name in (BASE, "mammoth2-7b-plus"):
        trained(ws, name)
        evaluated(
            ws,
            name,
            "mt-bench",
            first(15, 20),
            shots=0,
            judge=f"endpoint:https://x.example/v1#{judge}",
            reported=rating,
        )
    manifest = report(ws)
    page = Page(read(ws, manifest, "report.html"))
    cell = page.cell("main-paper", "mammoth2-7b-plus", "mt-bench").split(" | ")
    assert cell == [
        "7.50", "7.12–7.75", "rating", "Δ 0.0 (0.0 to 0.0) % of the best score", "20 items", *(["paper 7.88"] if shown else []),
    ]  # fmt: skip
    (chart,) = [str(attributes["alt"]) for tag, attributes in page.tags if tag == "img"]
    assert "rating: base-tiny 7.50; mammoth2-7b-plus 7.50" in chart
    assert ("Llama-3-8B-Instruct 8.02 (published)" in chart) is shown


def test_the_paired_bootstrap_agrees_with_scipys_and_with_theory() -> None:
    a, b = [0] * 20 + [1] * 40 + [0] * 40, [1] * 20 + [0] * 10 + [1] * 30 + [0] * 40
    differences = [of_b - of_a for of_a, of_b in zip(a, b, strict=True)]
    ours = paired_bootstrap(pairs(a, b))
    theirs = stats.bootstrap(
        (np.array(differences),), np.mean, n_resamples=RESAMPLES, method="percentile", random_state=1
    ).confidence_interval
    assert ours.delta.value == pytest.approx(0.1)
    assert (ours.delta.low, ours.delta.high) == pytest.approx((theirs.low, theirs.high), abs=0.011)
    normal = 2 * stats.norm.sf(0.1 / math.sqrt((0.3 - 0.01) / 100))
    assert ours.p == pytest.approx(normal, abs=0.02)  # 0.063
    assert paired_bootstrap(pairs(a, a)).p == 1.0
    assert paired_bootstrap(pairs([0] * 50, [1] * 50)).p == pytest.approx(2 / (RESAMPLES + 1))


def test_items_of_a_judged_benchmark_weigh_what_the_judge_gave_them() -> None:
    """Arena-Hard: a strong verdict counts as three battles."""
    weighted = paired_bootstrap(pairs([0.0, 1.0, 0.5, 0.5], [1.0, 1.0, 0.5, 0.0], [1, 1, 1, 1], [3, 1, 1, 1]))
    assert weighted.delta.value == pytest.approx((3 * 1 + 1 + 0.5 + 0) / 6 - 2 / 4)


def pairs(a: Sequence[float], b: Sequence[float], *weights: Sequence[float]) -> pl.DataFrame:
    weight_a, weight_b = weights or ([1] * len(a), [1] * len(b))
    columns = {"a": a, "weight_a": weight_a, "b": b, "weight_b": weight_b}
    return pl.DataFrame({name: [float(value) for value in values] for name, values in columns.items()})


def test_two_versions_of_the_data_are_compared_after_the_older_one_is_gone(workspace: Workspace) -> None:
    ws = with_recipes(workspace, {"tuned": {}, "twin": {}})
    for name, right in ((BASE, 0), ("tuned", 30), ("twin", 30)):
        trained(ws, name)
        evaluated(ws, name, "math", first(right, 100))
    old = report(ws)
    (before,) = records(ws, old, "comparisons.csv")
    assert (before["recipe_a"], before["recipe_b"], before["corrected_delta"], before["corrected_p"]) == (
        "tuned",
        "twin",
        "0.0",
        "1.0",
    )
    trained(ws, "tuned", rows=5, version="2")
    evaluated(ws, "tuned", "math", [at < 20 or 50 <= at < 90 for at in range(100)])  # 40 gained, 10 lost
    new = report(ws)
    compared = records(ws, new, "comparisons.csv")
    assert len(compared) == 3
    (mine,) = [row for row in compared if row["recipe_a"] == row["recipe_b"]]
    assert {mine["version_a"], mine["version_b"]} == {
        version for _, recipe, version in new.metrics["versions"] if recipe == "tuned"
    }
    delta, low, high, p = (float(mine[f"corrected_{name}"]) for name in ("delta", "low", "high", "p"))
    sign = 1 if mine["version_b"] not in {version[2] for version in old.metrics["versions"]} else -1
    assert delta == pytest.approx(sign * 0.3) and p < 0.001
    assert (low, high) == pytest.approx((delta - 1.96 * 0.0640, delta + 1.96 * 0.0640), abs=0.02)
    assert "data" in mine["differs"]
    # Three tests: Holm multiplies the smallest p by 3, never lets a larger one be below it.
    assert float(mine["p_holm"]) == pytest.approx(3 * min(float(row["corrected_p"]) for row in compared))
    assert new.metrics["significant"] == 2
    assert "replaced since" in read(ws, new, "report.html")
    assert report(ws) == new, "making the report must not make it stale"


def test_the_cost_of_a_point(workspace: Workspace) -> None:
    prices = {"cpu_core_hour": 3.6, "gpu_hour": 36.0, "gpus": 1}
    ws = with_recipes(workspace, {"better": {}, "worse": {}}, costs=prices)
    trained(ws, BASE)
    evaluated(ws, BASE, "math", first(20, 100))
    for name, right in (("better", 30), ("worse", 10)):
        trained(ws, name, training_seconds=100.0, world_size=2, device="cuda:0")
        evaluated(ws, name, "math", first(right, 100))
    manifest = report(ws)
    better, worse = records(ws, manifest, "costs.csv")
    # 200 GPU-seconds at a cent each, and next to no CPU
    assert float(better["gpu_seconds"]) == 200 and float(better["dollars"]) == pytest.approx(2.0, abs=0.05)
    assert (float(better["points"]), float(worse["points"])) == pytest.approx((10, -10))
    page = Page(read(ws, manifest, "report.html"))
    assert float(page.cell("costs", "better", "Dollars per point")) == pytest.approx(0.2, abs=0.005)
    assert page.cell("costs", "better", "GPU-seconds per point") == "20.0"
    assert page.cell("costs", "worse", "Dollars per point") == "no gain"


def test_hostile_text_stays_text(workspace: Workspace) -> None:
    models = workspace.root / "config/published/models.yaml"
    models.write_text(yaml.safe_dump({"models": [{"model": HOSTILE, "source": HOSTILE, "scores": {"math": 50.0}}]}))
    ws = with_recipes(workspace, {"tuned": {"description": HOSTILE}})
    for name in (BASE, "tuned"):
        trained(ws, name)
        evaluated(ws, name, "math", first(5, 10))
    manifest = report(ws)
    text = read(ws, manifest, "report.html")
    page = Page(text)
    assert not {"script", "iframe", "object", "link", "form"} & {tag for tag, _ in page.tags}
    assert page.tables["main-corrected"][2][0] == f"tuned | {HOSTILE}"  # a reader sees what was written
    assert [str(attributes["src"])[:26] for tag, attributes in page.tags if tag == "img"] == [
        "data:image/svg+xml;base64,"
    ]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    written = read(ws, manifest, "report.md")
    assert "<script" not in written and "](" not in written and "\\!\\[x\\]\\(" in written
    assert all(line.count(" | ") == written.splitlines()[4].count(" | ") for line in written.splitlines()[4:8])
    latex = read(ws, manifest, "main-corrected.tex")
    assert "\\input" not in latex and "50\\% " in latex and "\\textbackslash{}input\\{/etc/passwd\\} \\& " in latex
    svg = read(ws, manifest, "bars-math.svg")
    assert "<script" not in svg and "&lt;script&gt;" in svg


def test_the_page_is_whole_and_accessible(workspace: Workspace) -> None:
    ws = with_recipes(workspace, {"tuned": {}}, results={"dagster_url": "https://dagster.example/base/"})
    for name in (BASE, "tuned"):
        trained(ws, name)
        evaluated(ws, name, "math", first(5, 10))
    text = read(ws, report(ws), "report.html")
    page = Page(text)
    links = [
        str(attributes["href"])
        for tag, attributes in page.tags
        if tag == "a" and not str(attributes["href"]).startswith("#")
    ]
    assert "https://dagster.example/base/assets/benchmark_scores?view=partitions&partition=math%7Ctuned" in links
    assert all(link.startswith("https://dagster.example/base/assets/") for link in links)
    loaded = [attributes.get("src") for tag, attributes in page.tags if tag in ("img", "script", "link", "source")]
    assert loaded and all(str(source).startswith("data:image/svg+xml;base64,") for source in loaded)
    assert "url(" not in text and "@import" not in text and "prefers-color-scheme: dark" in text
    assert all(str(attributes.get("alt")) not in ("", "None") for tag, attributes in page.tags if tag == "img")
    heads = [attributes.get("scope") for tag, attributes in page.tags if tag == "th"]
    assert heads and set(heads) == {"col", "row"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    assert labels <= set(ids)


def test_the_same_scores_give_the_same_bytes(workspace: Workspace) -> None:
    ws = with_recipes(workspace, {"tuned": {"family": "scaling"}, "mammoth2-7b": {}})
    for name in (BASE, "tuned", "mammoth2-7b"):
        trained(ws, name)
        evaluated(ws, name, "math", first(5, 10))
    digests = []
    for _ in range(2):
        manifest = report(ws)
        folder = ws.lake.data_folder(manifest)
        digests.append({path.name: digest_file(path) for path in folder.iterdir() if not path.name.startswith("unit-")})
        shutil.rmtree(folder.parent)
    assert digests[0] == digests[1]
    assert {"report.html", "report.md", "bars-math.png", "bars-math.svg", "scaling-math.svg"} <= set(digests[0])
    assert {"scores.csv", "comparisons.csv", "costs.csv", "main-paper.tex", "scaling-corrected.tex"} <= set(digests[0])


def test_a_report_makes_nothing_else_and_comes_last(workspace: Workspace) -> None:
    ws = with_recipes(workspace, {"tuned": {}}, benchmarks=["math"])
    with pytest.raises(MissingInput, match="no partition of benchmark_scores"):
        report(ws)
    trained(ws, BASE)
    evaluated(ws, BASE, "math", first(5, 10))
    assert [ref.asset for ref in closure(ws, targets(ws, Selection(), ["results_report"]), None)] == ["results_report"]
    assert str(targets(ws, Selection(), ())[-1]) == "results_report"
    nobody_trains_on_it = targets(ws, Selection(snapshot="local-other"), ())
    assert nobody_trains_on_it and not {"benchmark_scores", "results_report"} & {
        ref.asset for ref in nobody_trains_on_it
    }


def test_wrong_published_numbers_name_file_and_field(workspace: Workspace) -> None:
    ws = with_recipes(workspace, {})
    trained(ws, BASE)
    evaluated(ws, BASE, "math", first(5, 10))
    path: Path = ws.root / "config/published/models.yaml"
    path.write_text("models: [{model: x, source: y, scores: {math: many}}]")
    with pytest.raises(ConfigError, match=r"models\.yaml: field 'models\.0\.scores\.math'"):
        report(ws)


def test_a_recipe_whose_file_is_gone_keeps_its_scores(workspace: Workspace) -> None:
    ws = with_recipes(workspace, {"tuned": {}})
    for name in (BASE, "tuned"):
        trained(ws, name)
        evaluated(ws, name, "math", first(5, 10))
    (ws.root / "config/recipes/tuned.yaml").unlink()
    ws = with_recipes(ws, {})
    page = Page(read(ws, report(ws), "report.html"))
    assert page.cell("main-corrected", "tuned", "MATH").startswith("50.0")
