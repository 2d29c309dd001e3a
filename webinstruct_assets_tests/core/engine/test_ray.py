"""The engine on a real Ray cluster of this machine: a head without CPUs and two worker nodes of one each."""

import os
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
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets_tests.core.engine import functions, program
from webinstruct_assets_tests.core.engine.program import read_log, with_engine
from webinstruct_assets_tests.core.engine.test_engines import NAMES, stage_of

pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A running cluster; a test that kills a node puts another in its place."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 << 20},
    )
    for _ in range(2):
        add_node(cluster)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def add_node(cluster: Any) -> None:
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)


def test_the_same_bytes_and_a_node_killed_midway(workspace: Workspace, cluster: Any, tmp_path: Path) -> None:
    program.make_crawl(workspace)
    inline = program.rebuilt(with_engine(workspace, "inline"), tmp_path / "log")
    expected = inline.data_version, inline.metrics, program.digests(workspace, inline)

    on_ray = with_engine(workspace, "ray", None, cluster.address)
    log = tmp_path / "ray"
    victims: list[str] = []

    def kill_a_node() -> None:
        """SIGKILL of everything that makes up one worker node, once both nodes are at work."""
        while len({line.node for line in read_log(log)}) < 2:
            time.sleep(0.02)
        node = cluster.worker_nodes.copy().pop()
        workers = {line.pid for line in read_log(log) if line.node == node.unique_id or line.node == node_id(node)}
        victims.append(node_id(node))
        for pid in [*(process.process.pid for group in node.all_processes.values() for process in group), *workers]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    manifest = program.rebuilt(on_ray, log, pause=0.1)
    killer.join(10)
    lines = read_log(log)
    assert (manifest.data_version, manifest.metrics, program.digests(on_ray, manifest)) == expected
    assert len({line.node for line in lines}) == 2 and len(victims) == 1
    last = lines[-1].node
    assert last != victims[0]
    # Each unit once, but for those that the dead node had.
    assert program.UNITS <= len(lines) <= program.UNITS + 3
    add_node(cluster)
    cluster.wait_for_nodes()
