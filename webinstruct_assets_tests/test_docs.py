"""Documents hold: their links lead somewhere, and CONTRIBUTING's additions are whole, valid and under ten lines."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from webinstruct_assets.core.config import (
    BenchmarkConfig,
    Config,
    DatasetConfig,
    RecipeConfig,
    RefinerConfig,
    Section,
    validate,
)
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.refinement.refined_qa import REFINED_QA
from webinstruct_assets.stages.sft.public_sets import PUBLIC_SETS
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET

DOCUMENTS = sorted(
    [*PROJECT_ROOT.glob("*.md"), *PROJECT_ROOT.glob("docs/**/*.md"), *PROJECT_ROOT.glob("deploy/**/*.md")]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.M | re.S)


def headings(path: Path) -> set[str]:
    """Anchors of a document, as GitHub makes them."""
    text = FENCE.sub("", path.read_text())
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT_ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(FENCE.sub("", path.read_text())):
        if target.startswith(("https://", "http://")):
            continue  # no network in CI
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in headings(linked), f"{path.name}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT_ROOT).as_posix())
def test_named_files_exist(path: Path) -> None:
    """What stands in code quotes and looks like one of our files is one."""
    for name in re.findall(r"`((?:config|docs|perf|deploy|webinstruct_assets)/[\w./-]+\.\w+)`", path.read_text()):
        assert "NAME" in name or (PROJECT_ROOT / name).exists(), f"{path.name}: {name}"


def test_the_drawing_of_the_floors_is_of_this_tree() -> None:
    """Its first column names every module and folder of core/, of stages/ and above, and nothing else."""
    package = PROJECT_ROOT / "webinstruct_assets"
    drawing = FENCE.findall((PROJECT_ROOT / "docs/architecture.md").read_text())[0]
    above, _, below = drawing.partition("\n───")
    stages, _, core = below.partition("\nstages/")[2].partition("\ncore/")
    for folder, text in ((package, above), (package / "stages", stages), (package / "core", core)):
        there = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
        listed = [re.split(r" {2,}", line.strip("`│ "))[0].split() for line in text.splitlines()]
        named = {name.removesuffix("/") for line in listed for name in line}
        assert named == there - {"__init__", "assets", "stages", "core"}


def example(title: str) -> str:
    """The code block of a section of CONTRIBUTING.md."""
    section = (PROJECT_ROOT / "CONTRIBUTING.md").read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```(?:yaml|python)\n(.*?)^```", section, re.M | re.S)
    return str(block)


@pytest.mark.parametrize(
    ("title", "model"),
    [
        ("Add a benchmark", BenchmarkConfig),
        ("Add a recipe", RecipeConfig),
        ("Add a public set", DatasetConfig),
        ("Add a refiner", RefinerConfig),
    ],
)
def test_additions_are_small_and_valid(title: str, model: type[Section], home: Path) -> None:
    text = example(title)
    assert len(text.splitlines()) < 10
    validate(Path("example.yaml"), yaml.safe_load(text), model)
    kind = {"set": "dataset"}.get(title.split()[-1], title.split()[-1])
    (home / "config" / f"{kind}s" / "example.yaml").write_text(text)
    assert "example" in getattr(Config(home, "demo"), f"{kind}s")
    # The assets that it is for take it: those without a model are built, of the others all is known that a build needs.
    ws, key = (
        Workspace.open(home),
        PartitionKey.of({kind: "example"} | ({"snapshot": "local-demo"} if kind == "refiner" else {})),
    )
    if kind == "benchmark":
        folder = home / "data/benchmarks"
        folder.unlink()  # a link to the checkout's
        folder.mkdir()
        (folder / "my-exam.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "B", "choices": ["1", "2"]}\n')
        assert execute(BENCHMARK_ITEMS, key, ws, log=print, run_id="test").rows == 1
    elif kind == "dataset":
        execute(BENCHMARK_ITEMS, PartitionKey.of({"benchmark": "demo-stem"}), ws, log=print, run_id="test")
        assert execute(PUBLIC_SETS, key, ws, log=print, run_id="test").rows
    else:
        stage = SFT_DATASET if kind == "recipe" else REFINED_QA
        assert stage.settings(ws, key) and stage.inputs(ws, key)


PROGRAM = """
import sys
from webinstruct_assets.stages.pages.html import extract_page
page = extract_page(sys.stdin.buffer.read(), url="https://a.example/")
print([(pair.rule, pair.question, pair.answer) for pair in page.markup_pairs])
"""
FIGURE = b"<h1>Plants</h1><figure><figcaption>Why are leaves green?</figcaption><p>Chlorophyll reflects green light.</p></figure>"


def test_the_example_of_a_rule_is_small_and_works(tmp_path: Path) -> None:
    """The change is made, in a copy, as the text above it says."""
    rules = Path("webinstruct_assets/stages/pages/rules")
    shutil.copytree(PROJECT_ROOT / "webinstruct_assets", tmp_path / "webinstruct_assets")

    def found() -> str:
        command, environment = [sys.executable, "-c", PROGRAM], {**os.environ, "PYTHONPATH": str(tmp_path)}
        answer = subprocess.run(command, input=FIGURE, capture_output=True, cwd=tmp_path, env=environment, check=True)
        return answer.stdout.decode().strip()

    assert found() == "[]"
    table, listed = tmp_path / rules / "tables.py", tmp_path / rules / "__init__.py"
    table.write_text(f"{table.read_text()}\n\n{example('Add a markup rule')}")
    text = listed.read_text()
    for old, new in (
        ("import definition_list, question_table", "import definition_list, figure_question, question_table"),
        ("NAMES = (\n", 'NAMES = (\n    "figure_question",\n'),
        ("STRUCTURE = (\n", "STRUCTURE = (\n    figure_question,\n"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    listed.write_text(text)
    assert found() == "[('figure_question', 'Why are leaves green?', 'Chlorophyll reflects green light.')]"
    difference = subprocess.run(
        ["git", "diff", "--no-index", "--unified=0", str(PROJECT_ROOT / rules), str(tmp_path / rules)],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    added = [line for line in difference.splitlines() if re.match(r"\+(?!\+\+ )\s*\S", line)]
    assert 0 < len(added) < 10, added
