"""The funnel of published manifests: its numbers, what it does without, and what `webinstruct status` and a plot show."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from webinstruct_assets import status
from webinstruct_assets.assets.plots import MAX_BYTES, snapshot_funnel
from webinstruct_assets.core.errors import MissingInput
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import States, stage_of
from webinstruct_assets.stages.funnel.funnel import FUNNEL

KEY = PartitionKey.of({"snapshot": "local-test"})
Publish = Callable[..., Manifest]


@pytest.fixture
def publish(workspace: Workspace) -> Publish:
    """Publishes ``kept`` empty rows and the given rejects as a partition of a stage."""

    def make(asset: str, kept: int, rejected: dict[str, int] | None = None, key: PartitionKey = KEY) -> Manifest:
        stage: Stage = stage_of(asset)
        rejects = [
            Reject(f"{reason}{n}", "", reason) for reason, count in (rejected or {}).items() for n in range(count)
        ]

        def run(job: Job) -> None:
            frame = pl.DataFrame([{"id": str(n)} for n in range(kept)], schema=dict(stage.schema))
            job.unit("rows", lambda: Unit(rows=frame, rows_in=kept + len(rejects), rejects=rejects))

        bare = replace(stage, run=run, inputs=lambda ws, key: [], settings=lambda ws, key: {})
        return execute(bare, key, workspace, log=lambda line: None, run_id="test")

    return make


def build(workspace: Workspace) -> Manifest:
    return execute(FUNNEL, KEY, workspace, log=lambda line: None, run_id="test")


def test_the_funnel_counts_what_is_there_and_grows_with_it(workspace: Workspace, publish: Publish) -> None:
    with pytest.raises(MissingInput, match="round2_recall/local-test"):
        build(workspace)
    publish("round2_recall", 40, {"below_threshold": 60})
    publish("recalled_urls", 30, {"domain_not_selected": 10})
    first = build(workspace)
    assert first.metrics["steps"] == [
        {"asset": "round2_recall", "records_in": 100, "rows_out": 40, "rejected": 60},
        {"asset": "recalled_urls", "records_in": 40, "rows_out": 30, "rejected": 10},
    ]
    assert first.metrics["yield"] == 0.3
    for refiner, kept in (("smollm2-format", 5), ("smollm2-steps", 7)):
        key = PartitionKey.of({"snapshot": "local-test", "refiner": refiner})
        publish("refined_qa", kept, {"answer_changed": 3}, key)
    assert not States(workspace).of(FUNNEL.ref(KEY)).up_to_date
    second = build(workspace)
    assert second.metrics["steps"][-1] == {"asset": "refined_qa", "records_in": 18, "rows_out": 12, "rejected": 6}
    rows = workspace.lake.read(second)
    assert rows.filter(asset="refined_qa")["partition"].to_list() == [
        "smollm2-format|local-test",
        "smollm2-steps|local-test",
    ]
    assert (rows["records_in"] == rows["rows_out"] + rows["rejected"]).all()


def test_the_terminal_and_the_plot_show_it(workspace: Workspace, publish: Publish) -> None:
    assert status.funnel(workspace, "local-test") == []
    publish("round2_recall", 50, {"below_threshold": 150})
    publish("recalled_urls", 40, {f"reason_{number}": 1 for number in range(10)})
    lines = status.funnel(workspace, "local-test")
    assert [line.split()[0] for line in lines if line[0] != " "] == ["round2_recall", "recalled_urls"]
    assert (
        lines[0].count("█") == round(30 / 4) and " 25% " in lines[0] and lines[1].split() == ["below_threshold", "150"]
    )
    assert max(map(len, status.funnel(workspace, "local-test", 80))) <= 80
    plot = snapshot_funnel(workspace, build(workspace))
    assert plot.startswith("![Funnel of local-test](data:image/png;base64,") and len(plot) < 1.4 * MAX_BYTES
