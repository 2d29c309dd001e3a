"""The engine on a real Ray cluster of this machine: a head without CPUs and two worker nodes of one each."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from webinstruct_assets.core.errors import DeadEndpoint, UnitsFailed
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets_tests.core.engine import functions, program
from webinstruct_assets_tests.core.engine.program import read_log, with_engine
from webinstruct_assets_tests.core.engine.test_engines import NAMES, stage_of
from webinstruct_assets_tests.core.engine.test_kills import wait_for_end

pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A running cluster. The last test that uses it kills one of its nodes."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": 100 << 20,
        },
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def test_a_killed_run_is_finished_by_another_engine(workspace: Workspace, cluster: Any, tmp_path: Path) -> None:
    program.make_crawl(workspace)
    calm = program.rebuilt(with_engine(workspace, "inline"), tmp_path / "calm")
    shutil.rmtree(workspace.lake.folder(program.pages.PAGES.ref(program.KEY)))
    log = tmp_path / "log"
    command = [sys.executable, "-m", program.__name__, str(workspace.root), "ray", cluster.address, str(log), "0.2"]
    child = subprocess.Popen(command, cwd=PROJECT_ROOT)
    while len(program.committed(workspace)) < 4:
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    wait_for_end(read_log(log))  # Ray ends what a dead run had in flight
    done, before = program.committed(workspace), len(read_log(log))
    resumed = program.build(with_engine(workspace, "processes"), log)
    assert resumed.data_version == calm.data_version
    assert sorted([*done, *(line.unit for line in read_log(log)[before:])]) == sorted(
        path.stem.removeprefix("unit-") for path in workspace.lake.data_folder(resumed).glob("unit-*.json")
    )


@pytest.mark.slow
def test_a_dying_worker_costs_tries_of_its_unit_only(workspace: Workspace, cluster: Any, tmp_path: Path) -> None:
    ws = with_engine(workspace, "ray", None, cluster.address)

    def run(function: Any) -> Any:
        return execute(stage_of(function), program.KEY, ws, log=print, run_id="test")

    with pytest.raises(UnitsFailed, match="unit 3: Ray gave it up: WorkerCrashedError"):
        run(partial(functions.dies, tmp_path / "log", 99))
    assert sorted((tmp_path / "log").read_text().split()) == sorted([*NAMES, "3", "3"])
    (tmp_path / "again").write_text("")
    run(partial(functions.dies, tmp_path / "again", 2))
    assert (tmp_path / "again").read_text().split() == ["3"] * 3


def test_a_bad_unit_is_named_as_on_every_engine(workspace: Workspace, cluster: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    ws = with_engine(workspace, "ray", None, cluster.address)
    with pytest.raises(
        UnitsFailed, match=r"(?s)unit 2: crawl/2.warc.gz does not exist.*unit 4: ZeroDivisionError.*in dead_file"
    ):
        execute(
            stage_of(partial(functions.dead_file, broken, tmp_path / "log")), program.KEY, ws, log=print, run_id="test"
        )
    manifest = execute(stage_of(functions.threads), program.KEY, ws, log=print, run_id="test")
    assert manifest.metrics["polars"] == 2, "a task has more threads than its CPU"


def test_a_cluster_that_is_not_there_is_said(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = with_engine(workspace, "ray", None, "127.0.0.1:1")
    with pytest.raises(DeadEndpoint, match=r"no cluster at 127\.0\.0\.1:1"):
        execute(stage_of(functions.squares), program.KEY, ws, log=print, run_id="test")


def kill_node(node: Any, workers: set[int]) -> None:
    """SIGKILL of all processes of a node at once, as when its machine loses power."""
    for pid in {process.process.pid for group in node.all_processes.values() for process in group} | workers:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_the_same_bytes_though_a_node_dies_midway(workspace: Workspace, cluster: Any, tmp_path: Path) -> None:
    program.make_crawl(workspace)
    inline = program.rebuilt(with_engine(workspace, "inline"), tmp_path / "log")
    expected = inline.data_version, inline.metrics, program.digests(workspace, inline)
    on_ray, log = with_engine(workspace, "ray", None, cluster.address), tmp_path / "ray"
    victims: list[tuple[str, int]] = []

    def kill_one_node() -> None:
        while len({line.node for line in read_log(log)}) < 2:
            time.sleep(0.01)
        node, lines = cluster.worker_nodes.copy().pop(), read_log(log)
        kill_node(node, {line.pid for line in lines if line.node == node.node_id})
        victims.append((node.node_id, len(lines)))

    killer = threading.Thread(target=kill_one_node, daemon=True)
    killer.start()
    manifest = program.rebuilt(on_ray, log, pause=0.2)
    killer.join(10)
    assert (manifest.data_version, manifest.metrics, program.digests(on_ray, manifest)) == expected
    lines = read_log(log)
    ((victim, seen),) = victims
    assert len({line.node for line in lines}) == 2 and victim in {line.node for line in lines}
    assert victim not in {line.node for line in lines[seen + 1 :]}, "the node outlived its death"
    assert program.UNITS <= len(lines) <= program.UNITS + 2, "more was computed again than the dead node had in hand"


@pytest.mark.slow
def test_a_cluster_of_this_machine(workspace: Workspace) -> None:
    ws = with_engine(workspace, "ray", 2)
    manifest = execute(stage_of(functions.squares), program.KEY, ws, log=print, run_id="test")
    assert manifest.metrics == {"seen": 28}
