"""kill -9 of a whole run, at random points, again and again: nothing is lost, nothing is done twice."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from webinstruct_assets.core.lifeline import process_identity
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets_tests.core.engine import program
from webinstruct_assets_tests.core.engine.program import Line, read_log, with_engine

PAUSE = 0.02


@pytest.mark.parametrize(
    ("kills", "seed"), [(12, 1), *(pytest.param(60, seed, marks=pytest.mark.slow) for seed in range(2, 6))]
)
def test_killed_runs_lose_and_double_nothing(workspace: Workspace, tmp_path: Path, kills: int, seed: int) -> None:
    """A run is killed at a random moment until ``kills`` of them were; what is finished starts from nothing again.

    The engine changes from run to run, too: a build may be begun by one and finished by another.
    """
    program.make_crawl(workspace)
    calm = program.rebuilt(with_engine(workspace, "inline"), tmp_path / "calm")
    expected, calm_files = calm.data_version, program.digests(workspace, calm)
    ref, log = program.pages.PAGES.ref(program.KEY), tmp_path / "log"
    moments = random.Random(seed)
    killed = builds = resumed = 0
    while killed < kills:
        shutil.rmtree(workspace.lake.folder(ref))
        log.unlink(missing_ok=True)
        builds += 1
        finished: dict[str, int] = {}  # unit -> computations of it when it was first seen committed
        while workspace.lake.manifest(ref) is None:
            before = program.committed(workspace)
            died = run_and_kill(workspace, log, moments)
            lines = read_log(log)
            after = program.committed(workspace)
            assert before <= after, "a committed unit is lost"
            computations = {name: sum(line.unit == name for line in lines) for name in after}
            for name in after:
                assert computations[name] == finished.setdefault(name, computations[name]), f"{name} was computed again"
            resumed += bool(before)
            killed += died
        manifest = workspace.lake.require(ref, "test")
        assert manifest.data_version == expected
        assert program.digests(workspace, manifest) == calm_files
        assert len(finished) == program.UNITS
        left = {path.name for path in workspace.lake.data_folder(manifest).iterdir() if path.name.startswith(".")}
        assert not left
    assert resumed >= kills // 3, f"{resumed} of {killed} kills left something to resume, in {builds} builds"


def run_and_kill(ws: Workspace, log: Path, moments: random.Random) -> bool:
    """One run, killed at a random moment: of its time, or of its work. False when it ended before that."""
    kind = moments.choice(["inline", "processes", "processes"])
    before = len(read_log(log))
    command = [sys.executable, "-m", program.__name__, str(ws.root), kind, "", str(log), str(PAUSE)]
    child = subprocess.Popen(command, cwd=PROJECT_ROOT)
    if moments.random() < 0.3:
        deadline = time.monotonic() + moments.uniform(0.0, 2.0)
        while time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.002)
    else:
        wanted = before + moments.randint(1, program.UNITS // 2)
        while len(read_log(log)) < wanted and child.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.05))
    child.kill()
    code = child.wait()
    assert code in (0, -9)
    wait_for_end(read_log(log)[before:])
    return code == -9


def wait_for_end(lines: list[Line]) -> None:
    """Until the workers are gone, which the kernel sees to."""
    deadline = time.monotonic() + 10
    while any(process_identity(line.pid) for line in lines):
        assert time.monotonic() < deadline, "workers outlive their run"
        time.sleep(0.005)
