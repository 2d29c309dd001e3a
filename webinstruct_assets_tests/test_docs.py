"""Documents hold: their links lead somewhere, and CONTRIBUTING's additions are whole, valid and under ten lines."""

import re
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
from webinstruct_assets.core.workspace import PROJECT_ROOT
from webinstruct_assets.stages.pages import rules
from webinstruct_assets.stages.pages.document import Layout, Page, Pair, make_pair
from webinstruct_assets.stages.pages.questions import asks
from webinstruct_assets_tests.stages.pages.test_rules import pairs

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
    if kind == "refiner":
        prompt = yaml.safe_load(text)["prompt"]
        assert (PROJECT_ROOT / "webinstruct_assets/stages/refinement/prompts" / prompt).exists()


def test_the_example_of_a_rule_is_small_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    text = example("Add a markup rule")
    assert len(text.splitlines()) + 2 < 10  # its name in NAMES, itself in STRUCTURE
    body = "<h1>Plants</h1><figure><figcaption>Why are leaves green?</figcaption><p>Chlorophyll reflects green light.</p></figure>"
    assert pairs(body) == []
    names = {"Page": Page, "Layout": Layout, "Pair": Pair, "asks": asks, "make_pair": make_pair}
    exec(text, names)
    monkeypatch.setattr(rules, "STRUCTURE", (*rules.STRUCTURE, names["figure_question"]))
    assert pairs(body) == [("figure_question", "Why are leaves green?", "Chlorophyll reflects green light.")]
