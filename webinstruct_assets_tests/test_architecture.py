"""The three floors: imports point down only, nothing below assets/ knows Dagster, heavy modules load late."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import webinstruct_assets
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.graph import STAGES

PACKAGE = Path(webinstruct_assets.__file__).parent
HEAVY = {
    "torch",
    "vllm",
    "trl",
    "transformers",
    "datasets",
    "lm_eval",
    "matplotlib",
    "fasttext",
    "openai",
    "accelerate",
    "peft",
    "math_verify",
    "ray",
    "alpaca_eval",
    "pandas",
    "sklearn",
}
# Folder of a stage -> its place in the flow; a stage may use pure functions of earlier stages only.
FLOW = [
    "crawl",
    "seeds",
    "recall",
    "pages",
    "extraction",
    "benchmarks",
    "decontamination",
    "duplicates",
    "refinement",
    "review",
    "release",
    "funnel",
    "verification",
    "sft",
    "training",
    "evaluation",
    "results",
]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> list[tuple[str, bool]]:
    """(module, at module level) of every import in a file; TYPE_CHECKING blocks do not run."""
    tree = ast.parse(path.read_text())
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                found.extend((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                found.append((child.module or "", top))
            visit(child, top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(tree, True)
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    forbidden = {"core": ("stages", "assets"), "stages": ("assets",)}.get(room(path), ())
    above = {item.stem for item in PACKAGE.glob("*.py")} - {"__init__"}
    for name, _ in imported(path):
        parts = name.split(".")
        if parts[0] == "webinstruct_assets" and len(parts) > 1:
            assert parts[1] not in forbidden, f"{path} imports {name}"
            if room(path) in ("core", "stages"):
                assert parts[1] not in above, f"{path} imports {name}, which is above it"
        if room(path) in ("core", "stages"):
            assert parts[0] not in ("dagster", "dagster_pipes"), f"{path} imports {name}"


@pytest.mark.parametrize(
    "path",
    [path for path in modules() if room(path) == "stages"],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_stages_only_use_earlier_stages(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    if len(parts) < 3:
        return
    for name, _ in imported(path):
        used = name.split(".")
        if used[:2] == ["webinstruct_assets", "stages"] and len(used) > 2:
            assert FLOW.index(used[2]) <= FLOW.index(parts[1]), f"{path} imports {name}, a later stage"


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_heavy_imports_are_inside_functions(path: Path) -> None:
    for name, top in imported(path):
        assert not (top and name.split(".")[0] in HEAVY), f"{path} imports {name} at module level"


def test_loading_the_definitions_pulls_in_nothing_heavy() -> None:
    code = f"import sys, webinstruct_assets.definitions; print(sorted({HEAVY!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def file_of(module: str) -> Path | None:
    """The file of a module below stages/; None for anything else."""
    if not module.startswith("webinstruct_assets.stages."):
        return None
    path = PACKAGE.parent.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def stages_used(path: Path) -> set[Path]:
    """The module and all modules of stages/ that it imports, at any level, and those that these import."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        found.add(here)
        for node in ast.walk(ast.parse(here.read_text())):
            if isinstance(node, ast.ImportFrom):  # modules of a package, or names of a module
                files = [file_of(f"{node.module}.{alias.name}") or file_of(str(node.module)) for alias in node.names]
            elif isinstance(node, ast.Import):
                files = [file_of(alias.name) for alias in node.names]
            else:
                continue
            waiting += [file for file in files if file]
    return found


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.asset)
def test_a_stages_sources_are_all_that_it_is_made_of(stage: Stage) -> None:
    """Otherwise a change of code would leave the partition as it is."""
    named = {path for pattern in stage.sources for path in PACKAGE.glob(pattern)}
    used = stages_used(Path(inspect.getfile(stage.run)))
    assert sorted(path.relative_to(PACKAGE).as_posix() for path in used - named) == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.asset)
def test_every_pattern_of_a_stages_sources_finds_a_file(stage: Stage) -> None:
    assert [pattern for pattern in stage.sources if not any(PACKAGE.glob(pattern))] == []


def test_no_import_cycles() -> None:
    graph = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): {
            name for name, top in imported(path) if top and name.startswith("webinstruct_assets.")
        }
        for path in modules()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"cycle: {' -> '.join((*trail, name))}"
        if name not in done and name in graph:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_every_folder_of_modules_is_a_package() -> None:
    """Otherwise a wheel would be without it."""
    assert sorted({path.parent for path in modules() if not (path.parent / "__init__.py").exists()}) == []
