"""Progress of builds: done/total, rate, ETA, rejects by reason and cost."""

import time
from pathlib import Path

import pytest

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.progress import Progress, Standing, duration
from webinstruct_assets.core.stage import Job, Reject, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets_tests.partitions import filled, made

KEY = PartitionKey.of({"snapshot": "local-demo"})


def test_a_resumed_build_says_what_is_done_and_rejected_but_counts_its_own_rate(workspace: Workspace) -> None:
    told: list[Standing] = []

    def run(job: Job) -> None:
        job.progress.start(6, "records")
        for number in range(3):

            def compute(number: int = number) -> Unit:
                if number == 2 and len(told) < 5:
                    raise KeyboardInterrupt
                job.progress.advance(2)
                return Unit([filled(PAGES, id=f"pg-{number}")], 2, [Reject(f"x-{number}", "", f"reason_{number % 2}")])

            job.unit(f"{number}", compute)

    def build() -> None:
        execute(made(PAGES, run), KEY, workspace, log=print, run_id="t", listener=told.append)

    with pytest.raises(KeyboardInterrupt):
        build()
    assert [(item.done, item.rejected) for item in told] == [(0, {})], "the last unit was not reached"
    assert not list(workspace.lake.root.rglob(".progress.json"))
    told += told[:1] * 4
    build()
    begun, ended = told[5], told[-1]
    assert (begun.done, ended.done, ended.total) == (0, 6, 6)
    assert ended.rejected == {"reason_0": 2, "reason_1": 1}
    assert ended.rate == pytest.approx(2 / 6 * ended.done / (ended.at - begun.at), rel=0.5)


def test_lines_are_rare_and_the_file_is_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = [100.0], list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    told = Progress("pages x", lines.append, lambda: 0.5, tmp_path)
    told.start(1000, "pages")
    for _ in range(100):
        clock[0] += 1
        told.advance(5, {"odd": 1})
        assert '"done"' in (tmp_path / ".progress.json").read_text() or clock[0] < 102
    assert 10 <= len(lines) <= 12
    assert lines[5].startswith("pages x: 250/1,000 pages, 5.0/s, ETA 2 min 30 s, $0.5000, rejected: odd 50")
    told.close()
    assert not (tmp_path / ".progress.json").exists()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (75, "1 min 15 s"), (7300, "2 h 1 min"), (200_000, "2 d 7 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
