"""Engines of one machine: the same bytes, failing units, dying workers, no orphans."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.config import EngineConfig
from webinstruct_assets.core.errors import UnitsFailed, WebInstructError
from webinstruct_assets.core.lifeline import process_identity
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Stage, execute, identify
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets_tests.core.engine import functions, program
from webinstruct_assets_tests.core.engine.program import KEY, with_engine

NAMES = [str(number) for number in range(8)]
ENGINES = ["inline", "processes"]
Log = Callable[[str], None]


def stage_of(function: Any, sizes: dict[str, int] | None = None) -> Stage:
    def run(job: Job) -> None:
        job.map(function, {name: name for name in NAMES}, noun="numbers", sizes=sizes)
        job.metrics |= job.counts

    return Stage(
        asset="numbers", dimensions=("snapshot",), prefix="nn", schema=functions.SCHEMA, run=run,
        inputs=lambda ws, key: [], settings=lambda ws, key: {}, sources=("core/ids.py",), may_be_empty=lambda ws, key: True,
    )  # fmt: skip


def run(ws: Workspace, kind: str, function: Any, log: Log = print, **options: Any) -> Manifest:
    return execute(stage_of(function, **options), KEY, with_engine(ws, kind), log=log, run_id="test")


@pytest.mark.parametrize("kind", ENGINES)
def test_units_are_committed_with_their_side_files(workspace: Workspace, kind: str) -> None:
    manifest = run(workspace, kind, functions.squares)
    assert [part.file for part in manifest.parts] == [f"part-{name}.parquet" for name in NAMES]
    assert (manifest.rows_in, manifest.rows, manifest.rejected) == (28 + 4, 28, {"odd": 4})
    assert [part.file for part in manifest.files] == [f"notes-{n}.txt" for n in NAMES] + [f"table-{n}.parquet" for n in NAMES]
    assert workspace.lake.file(manifest, "notes-5.txt").read_bytes() == b"5"
    assert pl.read_parquet(workspace.lake.file(manifest, "table-5.parquet"))["n"].to_list() == [5]
    assert manifest.metrics == {"seen": 28}
    assert not list(workspace.lake.data_folder(manifest).glob(".*"))


def test_the_same_bytes_from_a_real_stage(workspace: Workspace, tmp_path: Path) -> None:
    program.make_crawl(workspace)
    published = []
    for kind in ENGINES:
        ws = with_engine(workspace, kind)
        manifest = program.rebuilt(ws, tmp_path / "log")
        published.append((manifest.data_version, manifest.metrics, program.digests(ws, manifest)))
        pids = {line.pid for line in program.read_log(tmp_path / "log")}
        assert (os.getpid() in pids) == (kind == "inline") and len(pids) == (1 if kind == "inline" else 2)
    assert published[0] == published[1]
    assert len(published[0][2]) > program.UNITS


@pytest.mark.parametrize("kind", ENGINES)
def test_a_failing_unit_stops_no_other_and_is_all_that_is_redone(workspace: Workspace, kind: str, tmp_path: Path) -> None:
    broken, log = tmp_path / "broken", tmp_path / "log"
    broken.touch()
    work = partial(functions.dead_file, broken, log)
    with pytest.raises(UnitsFailed) as caught:
        run(workspace, kind, work)
    problem = caught.value.problem
    assert problem.startswith("numbers local-test: 2 of 8 units failed")
    assert "unit 2: crawl/2.warc.gz does not exist" in problem
    assert "unit 4: ZeroDivisionError: a bug" in problem and "in dead_file" in problem
    assert "fetch the file" in caught.value.fix and "only the units that failed" in caught.value.fix
    assert sorted(log.read_text().split()) == NAMES
    assert workspace.lake.manifest(stage_of(work).ref(KEY)) is None

    broken.unlink()
    log.unlink()
    lines: list[str] = []
    resumed = run(workspace, kind, work, log=lines.append)
    assert sorted(log.read_text().split()) == ["2", "4"]
    assert "numbers local-test: 6 of 8 units are there from an earlier run" in lines
    calm = run(Workspace(workspace.root / "calm", workspace.files), kind, functions.squares)
    assert calm.data_version == resumed.data_version


@pytest.mark.parametrize("kind", ENGINES)
def test_progress_counts_records_and_rejects_and_what_was_there(workspace: Workspace, kind: str) -> None:
    lines: list[str] = []
    run(workspace, kind, functions.squares, log=lines.append, sizes={name: 10 * int(name) for name in NAMES})
    assert any(line.startswith("numbers local-test: 280/280 numbers, ") and line.endswith("odd 4") for line in lines)


@pytest.mark.parametrize("kind", ENGINES)
def test_a_unit_whose_file_is_gone_is_computed_again(workspace: Workspace, kind: str, tmp_path: Path) -> None:
    work = partial(functions.logged_squares, tmp_path / "log")
    first = run(workspace, kind, work)
    workspace.lake.part_paths(first)[2].unlink()
    workspace.lake.file(first, "notes-6.txt").write_bytes(b"another length")
    (tmp_path / "log").unlink()
    assert run(workspace, kind, work).data_version == first.data_version
    assert sorted((tmp_path / "log").read_text().split()) == ["2", "6"]


def test_a_killed_worker_costs_a_second_try_of_its_unit_only(workspace: Workspace, tmp_path: Path) -> None:
    manifest = run(workspace, "processes", partial(functions.dies, tmp_path / "log", 2))
    assert sorted((tmp_path / "log").read_text().split()) == sorted([*NAMES, "3", "3"])
    calm = run(Workspace(workspace.root / "calm", workspace.files), "inline", functions.squares)
    assert manifest.data_version == calm.data_version


def test_a_unit_that_always_kills_its_worker_is_reported(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UnitsFailed, match="unit 3: its worker process died 3 times, the last with signal 9") as caught:
        run(workspace, "processes", partial(functions.dies, tmp_path / "log", 99))
    assert "engine.workers" in caught.value.fix
    folder = next(workspace.lake.folder(stage_of(None).ref(KEY)).glob("*/unit-0.json")).parent
    assert {path.stem for path in folder.glob("unit-*.json")} == {f"unit-{name}" for name in NAMES if name != "3"}


def test_work_that_does_not_load_is_said_at_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("only_here")
    exec("def work(name): raise AssertionError", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(AssertionError, match="(?s)cannot load its work.*No module named 'only_here'"):
        run(workspace, "processes", module.work)


@pytest.mark.parametrize("kind", ENGINES)
def test_work_that_cannot_travel_is_refused_everywhere(workspace: Workspace, kind: str) -> None:
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        run(workspace, kind, lambda name: functions.squares(name))


def test_workers_that_do_not_start_end_the_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WebInstructError, match="3 worker processes died before their first unit, the last with exit code 1"):
        run(workspace, "processes", functions.squares)


def test_a_worker_has_one_thread_and_the_run_has_only_so_many_workers(workspace: Workspace) -> None:
    manifest = run(workspace, "processes", functions.threads)
    entries = [path.read_text() for path in workspace.lake.data_folder(manifest).glob("unit-*.json")]
    assert manifest.metrics["polars"] == len(NAMES)
    assert len({entry.partition('"pid"')[2].partition(",")[0] for entry in entries}) <= 2


def test_no_worker_outlives_a_killed_run(workspace: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "log"
    program.make_crawl(workspace)
    command = [sys.executable, "-m", program.__name__, str(workspace.root), "processes", "", str(log), "60"]
    child = subprocess.Popen(command, cwd=PROJECT_ROOT)
    while len(program.read_log(log)) < 2:
        assert child.poll() is None
        time.sleep(0.02)
    workers = {line.pid for line in program.read_log(log)}
    assert len(workers) == 2 and all(process_identity(pid) for pid in workers)
    child.kill()
    child.wait()
    deadline = time.monotonic() + 10
    while any(process_identity(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers are orphans"
        time.sleep(0.02)


def test_the_engine_is_in_no_identity(workspace: Workspace) -> None:
    identities = [
        identify(stage_of(functions.squares), KEY, with_engine(workspace, kind)).fingerprint
        for kind in ("inline", "processes", "ray")
    ]
    assert len(set(identities)) == 1


def test_an_address_is_rays_alone() -> None:
    with pytest.raises(ValueError, match="only `kind: ray` has an address, this is processes"):
        EngineConfig.model_validate({"kind": "processes", "address": "auto"})
