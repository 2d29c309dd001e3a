"""The shipped recipes, offline: they resolve, their references exist, and they are the paper's; what each drags along."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Unit, execute
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.graph import Selection, closure, stage_of, targets
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.duplicates.deduplicated_qa import DEDUPLICATED_QA
from webinstruct_assets.stages.evaluation.contamination import contaminated_items, data_behind
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.html import extract_page
from webinstruct_assets.stages.pages.pages import PAGES, span_rows
from webinstruct_assets.stages.release.source_types import SOURCE_TYPES
from webinstruct_assets.stages.release.subjects import SUBJECTS
from webinstruct_assets.stages.release.webinstruct import WEBINSTRUCT
from webinstruct_assets.stages.results.published import MAIN
from webinstruct_assets.stages.results.tables import MODEL_TITLES
from webinstruct_assets.stages.sft.public_sets import PUBLIC_SETS
from webinstruct_assets.stages.sft.recipes import base_recipe, chain_of, is_base, root_recipe
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT
from webinstruct_assets_tests.partitions import filled, made, publish

DEMO = PartitionKey.of({"snapshot": "local-demo"})
SIZES = (2, 4, 6, 8, 10)


def of(recipe: str) -> PartitionKey:
    return PartitionKey.of({"recipe": recipe})


@pytest.fixture(scope="module")
def paper() -> Workspace:
    return Workspace.open(PROJECT_ROOT, "paper")


def papers_own(ws: Workspace) -> list[str]:
    """All recipes but the demo's."""
    return [name for name in ws.files.recipes if root_recipe(ws, name).base_model != "smollm2-135m"]


def test_learning_rates_and_schedule_are_the_papers(paper: Workspace) -> None:
    """§3.1: 5e-6 for Mistral 7B and 1e-5 for Mixtral, Llama-3 8B and Yi 34B (reported for no other base model)."""
    rates = {
        "mistral-7b": 5e-6, "llama-3-8b": 1e-5, "mixtral-8x7b": 1e-5, "yi-34b": 1e-5, "deepseek-coder-7b": 1e-5,
    }  # fmt: skip
    for name in papers_own(paper):
        recipe = paper.files.recipes[name]
        if is_base(recipe):
            continue
        assert recipe.learning_rate == rates[root_recipe(paper, name).base_model], name
        assert (recipe.schedule, recipe.warmup_ratio, recipe.max_length, recipe.global_batch) == (
            "cosine",
            0.03,
            4096,
            512,
        )
        assert recipe.epochs == 2 and recipe.steps in (None, 9000)
        assert 512 % (recipe.per_device_batch * 8) == 0  # on the environment's 8 GPUs, and on the paper's 32
        assert 512 % (recipe.per_device_batch * 32) == 0


def test_every_reference_exists(paper: Workspace) -> None:
    environments = [Workspace.open(PROJECT_ROOT, name) for name in ("paper", "demo")]
    for name, recipe in paper.files.recipes.items():
        assert root_recipe(paper, name).base_model in {model for ws in environments for model in ws.config.models}, name
        assert set(recipe.filters.subjects) <= set(SUBJECTS) and set(recipe.filters.source_types) <= set(SOURCE_TYPES)
        if recipe.steps != 0:
            assert SFT_DATASET.inputs(paper, of(name)), name
    for name in papers_own(paper):
        assert root_recipe(paper, name).base_model in paper.config.models
        assert is_base(paper.files.recipes[name]) or base_recipe(paper, name), name
    assert paper.files.extractors["mixtral-8x22b"].model in paper.config.models
    assert set(paper.config.datasets) == {name for name in paper.files.datasets if name != "demo-public"}


def test_the_families(paper: Workspace) -> None:
    found = paper.files.recipes
    for size in SIZES:
        for name, (rows, loss) in {
            "refined-sft": ("refined", "response"), "refined-lm": ("refined", "all"), "extracted-lm": ("extracted", "all"),
        }.items():  # fmt: skip
            recipe = found[f"scaling-{name}-{size}m"]
            assert (recipe.rows, recipe.loss, recipe.filters.max_rows) == (rows, loss, size * 1_000_000)
            assert recipe.family == "scaling"
    refiners = {name: set(found[f"refiner-{name}"].refiners) for name in ("mixtral", "qwen", "merged")}
    assert refiners["merged"] == refiners["mixtral"] | refiners["qwen"] and len(refiners["merged"]) == 2
    parts = [set(found[f"subset-{name}"].filters.subjects) for name in ("math", "science", "other")]
    assert set.union(*parts) == set(SUBJECTS) and sum(map(len, parts)) == len(SUBJECTS)
    assert [found[f"subset-{name}"].filters.source_types for name in ("education", "forum")] == [
        ["education"],
        ["forum"],
    ]
    table6 = {
        "a": ("pages", "all", None), "ab": ("extracted", "response", None), "abc": ("refined", "response", None),
        "ad": ("", "response", "a"), "abd": ("", "response", "ab"), "abcd": ("", "response", "abc"),
        "d": ("", "response", None),
    }  # fmt: skip
    for name, (rows, loss, before) in table6.items():
        recipe = found[f"table6-{name}"]
        assert (recipe.rows if recipe.snapshots else "", recipe.loss) == (rows, loss)
        assert recipe.continues == (f"table6-{before}" if before else None)
        assert bool(recipe.datasets) == name.endswith("d")
    for size in ("7b", "8b", "8x7b"):
        plus = found[f"mammoth2-{size}-plus"]
        assert plus.continues == f"mammoth2-{size}" and not plus.snapshots and len(plus.datasets) == 3


def test_children_differ_in_a_line_or_two() -> None:
    for path in sorted((PROJECT_ROOT / "config/recipes").glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        if "inherits" in content:
            assert len(set(content) - {"inherits", "description", "family"}) <= 4, path


def test_the_example_in_the_docs_is_a_recipe_and_differs_in_its_line(home: Path) -> None:
    text = (PROJECT_ROOT / "docs/training.md").read_text(encoding="utf-8")
    name, example = re.findall(r"`([\w-]+)\.yaml` in `config/recipes/`:\n\n```yaml\n(.+?)```", text, re.DOTALL)[0]
    (home / f"config/recipes/{name}.yaml").write_text(example)
    ws = Workspace.open(home, "paper")
    own, parent = (ws.files.recipes[one].model_dump() for one in (name, yaml.safe_load(example)["inherits"]))
    assert {field for field in own if own[field] != parent[field]} == {"description", "filters"}
    assert SFT_DATASET.settings(ws, of(name))["filters"]["subjects"] == ["Physics"]
    assert TRAINED_CHECKPOINT.inputs(ws, of(name)) == [SFT_DATASET.ref(of(name))]


def test_families_are_those_that_the_report_and_the_docs_know(paper: Workspace) -> None:
    text = (PROJECT_ROOT / "docs/training.md").read_text(encoding="utf-8")
    found = {recipe.family for recipe in paper.files.recipes.values() if recipe.family}
    assert found == set(MODEL_TITLES) - {MAIN}
    assert all(f"`{family}`" in text for family in found)


def test_the_fingerprint_is_of_the_resolved_recipe(home: Path) -> None:
    """However it is written down; and a field of the parent bears on what inherits it, unless it says otherwise."""
    folder = home / "config/recipes"
    flat = Workspace.open(home).files.recipes["demo-plus"].model_dump(mode="json", exclude_none=True)
    (folder / "flat.yaml").write_text(yaml.safe_dump(flat))
    ws = Workspace.open(home)
    stages = (SFT_DATASET, TRAINED_CHECKPOINT)
    before = [stage.settings(ws, of("demo-plus")) for stage in stages]
    assert before == [stage.settings(ws, of("flat")) for stage in stages]
    (folder / "demo-sft.yaml").write_text(
        (folder / "demo-sft.yaml").read_text().replace("steps: 5", "steps: 6\nseed: 7")
    )
    after = Workspace.open(home)
    assert TRAINED_CHECKPOINT.settings(after, of("demo-plus")) == {**before[1], "seed": 7}


@pytest.mark.parametrize("environment", ["paper", "demo"])
def test_a_recipe_never_drags_another_along(environment: str) -> None:
    """Training takes what it continues; scores take the base model's, a partition of its own, and nothing else."""
    ws = Workspace.open(PROJECT_ROOT, environment)
    for name in papers_own(ws) if environment == "paper" else ws.config.recipes:
        refs = closure(ws, [TRAINED_CHECKPOINT.ref(of(name))], None)
        assert {ref.key["recipe"] for ref in refs if "recipe" in ref.key.as_dict()} == set(chain_of(ws, name))
        scores = Ref("benchmark_scores", PartitionKey.of({"benchmark": ws.config.benchmarks[0], "recipe": name}))
        base = base_recipe(ws, name)
        refs = closure(ws, [scores], None)
        with_base = {*chain_of(ws, name), *([base] if base else [])}
        assert {ref.key["recipe"] for ref in refs if "recipe" in ref.key.as_dict()} == with_base
        assert {ref.key["recipe"] for ref in refs if ref.asset == "benchmark_scores"} == {
            name,
            *([base] if base else []),
        }
        assert {ref.key["dataset"] for ref in refs if ref.asset == "public_sets"} == {
            dataset for link in chain_of(ws, name) for dataset in ws.files.recipes[link].datasets
        }


def test_a_snapshots_recipes_are_those_that_train_on_it_or_continue_one(workspace: Workspace) -> None:
    chosen = {ref.key["recipe"] for ref in targets(workspace, Selection("local-demo"), ["trained_checkpoint"])}
    assert chosen == {"base-smollm2", "demo-sft", "demo-lm", "demo-plus"}
    assert not targets(workspace, Selection("local-other"), ["trained_checkpoint"])
    (only,) = targets(workspace, Selection("local-demo", recipe="demo-plus"), ["trained_checkpoint"])
    assert only.key["recipe"] == "demo-plus"


# -- small twins of the families: as far as the training set here, further in test_trained_checkpoint -------


TWINS: dict[str, dict[str, Any]] = {
    "scaling-extracted": {"rows": "extracted", "loss": "all", "filters": {"max_rows": 3}},
    "scaling-refined": {"filters": {"max_rows": 3}},
    "refiner-one": {"refiners": ["smollm2-format"]},
    "refiner-both": {"refiners": ["smollm2-format", "smollm2-steps"]},
    "subset-physics": {"filters": {"subjects": ["Physics"]}},
    "subset-forum": {"filters": {"source_types": ["forum"]}},
    "table6-a": {"rows": "pages", "loss": "all"},
    "table6-ab": {"rows": "extracted"},
    "table6-d": {"snapshots": [], "datasets": ["demo-public"]},
    "table6-abd": {"snapshots": [], "datasets": ["demo-public"], "continues": "table6-ab"},
    "mixed": {"datasets": ["demo-public"]},
}


@pytest.fixture
def twins(home: Path) -> Workspace:
    return with_twins(home)


def with_twins(home: Path) -> Workspace:
    """The demo with ``TWINS``, and a handful of rows for each kind of source."""
    for name, content in TWINS.items():
        path = home / f"config/recipes/{name}.yaml"
        path.write_text(yaml.safe_dump({"description": "t", "inherits": "demo-sft", **content}))
    ws = Workspace.open(home)
    execute(BENCHMARK_ITEMS, PartitionKey.of({"benchmark": "demo-stem"}), ws, log=print, run_id="test")
    execute(PUBLIC_SETS, PartitionKey.of({"dataset": "demo-public"}), ws, log=print, run_id="test")
    (item,) = (
        row for row in ws.lake.read(ws.lake.require(Ref("benchmark_items", PartitionKey.of({"benchmark": "demo-stem"})), "t"))
        .iter_rows(named=True) if row["item_id"] == "demo-stem-005"
    )  # fmt: skip
    texts = [
        "The orchards of the valley were hit by frost.",
        "A page about prime numbers.",
        "A page about prime numbers.",
    ]
    pages = [filled(PAGES, id=f"pg-{n}", text=text) for n, text in enumerate([*texts, f"Exam. {item['question']}"])]
    publish(ws, PAGES, DEMO, pages)
    pairs = [{"question": f"How many legs have {n} spiders?", "answer": f"They have {8 * n} legs."} for n in range(5)]
    publish(ws, DEDUPLICATED_QA, DEMO, [filled(DEDUPLICATED_QA, id=f"dd-{n}", **pair) for n, pair in enumerate(pairs)])
    refined = [
        filled(
            WEBINSTRUCT, id=f"wi-{refiner}-{n}", refiner=refiner, subject="Physics" if n else "Biology", answer_words=4,
            source_type="forum" if n > 2 else "education", question=pair["question"], answer=f"{pair['answer']} {refiner}",
        )
        for n, pair in enumerate(pairs)
        for refiner in ("smollm2-format", "smollm2-steps")
    ]  # fmt: skip
    publish(ws, WEBINSTRUCT, DEMO, refined)
    return ws


def data(ws: Workspace, recipe: str) -> Manifest:
    return execute(SFT_DATASET, of(recipe), ws, log=print, run_id="test")


def test_twins_take_what_their_family_says(twins: Workspace) -> None:
    found = {name: data(twins, name) for name in TWINS}
    assert {name: (manifest.rows_in, manifest.rows, manifest.rejected) for name, manifest in found.items()} == {
        "scaling-extracted": (5, 3, {"over_max_rows": 2}),
        "scaling-refined": (10, 3, {"over_max_rows": 7}),
        "refiner-one": (10, 5, {"other_refiner": 5}),
        "refiner-both": (10, 10, {}),
        "subset-physics": (10, 8, {"other_subject": 2}),
        "subset-forum": (10, 4, {"other_source_type": 6}),
        "table6-a": (4, 2, {"contaminated": 1, "duplicate_exact": 1}),
        "table6-ab": (5, 5, {}),
        "table6-d": (18, 18, {}),
        "table6-abd": (18, 18, {}),
        "mixed": (28, 28, {}),
    }
    parents = {
        "table6-a": "pg", "table6-ab": "dd", "table6-d": "ps", "refiner-both": "wi",
    }  # fmt: skip
    for name, prefix in parents.items():
        assert {row.partition("-")[0] for row in twins.lake.read(found[name])["parent_id"]} == {prefix}
    (document, _) = twins.lake.read(found["table6-a"]).sort("parent_id")["messages"].to_list()
    assert document == [{"role": "assistant", "content": "The orchards of the valley were hit by frost."}]
    assert len(twins.lake.read(found["mixed"]).filter(snapshot="")) == 18


def test_a_smaller_scaling_point_is_a_part_of_a_larger_one(twins: Workspace) -> None:
    small = set(twins.lake.read(data(twins, "scaling-refined"))["parent_id"])
    path = twins.root / "config/recipes/scaling-refined.yaml"
    path.write_text(path.read_text().replace("max_rows: 3", "max_rows: 6"))
    assert small < set(twins.lake.read(data(Workspace.open(twins.root), "scaling-refined"))["parent_id"])


def test_items_found_in_public_sets_and_pages_are_flagged_in_scores(twins: Workspace) -> None:
    for recipe in ("table6-a", "table6-d"):
        manifest = data(twins, recipe)
        stage = replace(
            made(TRAINED_CHECKPOINT, lambda job: job.unit("0", lambda: Unit(rows=[], rows_in=0))),
            inputs=lambda ws, key: [SFT_DATASET.ref(key)],
            may_be_empty=lambda ws, key: True,
        )
        execute(stage, of(recipe), twins, log=print, run_id="test")
        behind = data_behind(twins.lake, recipe).data
        assert contaminated_items(twins.lake, behind, "demo-stem") == {"demo-stem-005"}, manifest.asset


# -- extraction profiles ----------------------------------------------------------------------------------


HTML = "<h2>What is a prime number?</h2><p>One with two divisors.</p><h2>Is one a prime number?</h2><p>No.</p>"


def test_two_profiles_two_datasets_and_nothing_recalled_anew(home: Path) -> None:
    """One snapshot's pages, pairs by rules alone beside pairs of the environment's settings."""
    for name, content in {"plain": {}, "ruled": {"extraction": "rules-only"}}.items():
        path = home / f"config/recipes/{name}.yaml"
        path.write_text(yaml.safe_dump({"description": "t", "inherits": "demo-lm", "rows": "extracted", **content}))
    ws = Workspace.open(home)
    execute(BENCHMARK_ITEMS, PartitionKey.of({"benchmark": "demo-stem"}), ws, log=print, run_id="test")
    page = extract_page(HTML.encode(), url="https://faq.example/")
    marked = [
        {
            "question": pair.question, "answer": pair.answer, "rule": pair.rule,
            "question_spans": span_rows(pair.question_spans), "answer_spans": span_rows(pair.answer_spans),
        }
        for pair in page.markup_pairs
    ]  # fmt: skip
    publish(
        ws, PAGES, DEMO, [filled(PAGES, id="pg-1", url="https://faq.example/", text=page.text, markup_pairs=marked)]
    )
    # The environment's own settings ask an LLM; its pairs are published as they would be.
    own = [
        {"question": "How long does it boil?", "answer": "Three minutes."},
        {"question": "What is prime?", "answer": "Two."},
    ]
    publish(ws, DEDUPLICATED_QA, DEMO, [filled(DEDUPLICATED_QA, id=f"dd-{n}", **pair) for n, pair in enumerate(own)])
    plain = data(ws, "plain")

    profiled = PartitionKey.of({"snapshot": "local-demo@rules-only"})
    (wanted,) = SFT_DATASET.inputs(ws, of("ruled"))
    assert wanted == DEDUPLICATED_QA.ref(profiled)
    refs = closure(ws, [wanted], "local-demo")
    built = {ref.asset for ref in refs if ref.key == profiled}
    assert built == {"pages", "extracted_qa", "decontaminated_qa", "deduplicated_qa"}
    for ref in refs:
        if ref.key == profiled:
            execute(stage_of(ref.asset), ref.key, ws, log=print, run_id="test")
    borrowed = ws.lake.require(PAGES.ref(profiled), "test")
    assert (borrowed.reuses, borrowed.parts) == ("pages/local-demo", [])
    assert ws.lake.require(EXTRACTED_QA.ref(profiled), "test").config == {
        "rules": True,
        "llm": False,
        "max_llm_pages": 24,
    }
    ruled = data(ws, "ruled")
    assert (plain.rows, ruled.rows) == (2, 2) and plain.data_version != ruled.data_version
    assert set(ws.lake.read(ruled)["snapshot"]) == {"local-demo@rules-only"}
    assert {path.name for path in ws.lake.root.iterdir()} == {
        "benchmark_items", "pages", "extracted_qa", "decontaminated_qa", "deduplicated_qa", "sft_dataset",
    }  # fmt: skip
