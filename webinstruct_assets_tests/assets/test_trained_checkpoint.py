"""Training as Dagster shows it: observations while it goes, curves at the end."""

import time
from pathlib import Path

import dagster as dg
import pytest

from webinstruct_assets.assets import trained_checkpoint as module
from webinstruct_assets.assets.plots import MAX_BYTES, training_curves
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import Job, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.training.trained_checkpoint import LOGGED, TRAINED_CHECKPOINT
from webinstruct_assets_tests.partitions import made
from webinstruct_assets_tests.stages.training.conftest import demo_model, tiny_model
from webinstruct_assets_tests.stages.training.test_trained_checkpoint import (
    SHORT,
    configure,
    configure_trainer,
    publish_data,
    use_model,
)

__all__ = ["demo_model", "tiny_model"]  # fixtures


def test_a_training_is_observed_while_it_goes(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("WEBINSTRUCT_HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_model(home, "tiny", f"path:{tiny_model}")
    configure_trainer(home, observe_every=10)
    recipe = "demo-sft"  # Dagster's partitions are the checkout's recipes
    ws = configure(home, **{recipe: {**SHORT, "steps": 30, "epochs": 20.0}})
    publish_data(ws, recipe)
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        result = dg.materialize(
            [module.trained_checkpoint, dg.AssetSpec("sft_dataset")],
            selection=["trained_checkpoint"],
            partition_key=recipe,
            instance=instance,
            resources={"workspace": WorkspaceResource(), "pipes": dg.PipesSubprocessClient()},
        )
        assert result.success
        logged = instance.event_log_storage.get_logs_for_run(result.run_id)
    observed = [entry for entry in logged if entry.dagster_event and entry.dagster_event.is_asset_observation]
    observations = [entry.dagster_event.asset_observation_data.asset_observation for entry in observed]
    assert [observation.metadata["step"].value for observation in observations] == [10, 20, 30]
    assert all(
        set(observation.metadata) == set(LOGGED) and observation.partition == recipe for observation in observations
    )
    # While it goes: the first was in the event log before the last step was taken.
    manifest = ws.lake.require(TRAINED_CHECKPOINT.ref(PartitionKey.of({"recipe": recipe})), "test")
    rows = ws.lake.read(manifest)
    assert observations[0].metadata["loss"].value == rows["loss"][9]
    assert observed[0].timestamp < observed[-1].timestamp - 0.2 * (rows["seconds"][29] - rows["seconds"][9])
    (materialization,) = result.asset_materializations_for_node("trained_checkpoint")
    assert "data:image/png" in str(materialization.metadata["plot"].value)


def test_curves_of_a_long_training_fit_into_the_event_log(workspace: Workspace) -> None:
    steps, start = 9_000, time.time()

    def run(job: Job) -> None:
        rows = [
            {
                "id": f"tc-{step}", "parent_id": "", "step": step, "loss": 2 + (step * 7919 % 1000) / step, "learning_rate": step * 1e-9,
                "grad_norm": step * 31 % 17 / 3, "tokens": step * 100, "seconds": start + step, "tokens_per_second": 100.0 + step * 7 % 50,
            }
            for step in range(1, steps + 1)
        ]  # fmt: skip
        job.unit("0", lambda: Unit(rows=rows, rows_in=steps))

    key = PartitionKey.of({"recipe": "demo-sft"})
    manifest = execute(made(TRAINED_CHECKPOINT, run), key, workspace, log=print, run_id="test")
    plot = training_curves(workspace, manifest)
    assert plot and len(plot) < MAX_BYTES * 4 / 3 + 100
