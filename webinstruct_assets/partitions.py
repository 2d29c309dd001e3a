"""Dagster's partition definitions: snapshots appear at run time, the others are files that a user edits.

Snapshot keys are registered by the sensor, the command line or an import, and never deleted: deleting a key
breaks the Automation tab of everything downstream.
"""

import dagster as dg

from webinstruct_assets.core.config import Config
from webinstruct_assets.core.workspace import Workspace

SNAPSHOT = dg.DynamicPartitionsDefinition(name="snapshot")

_FILES: Config = Workspace.open().files

REFINER = dg.StaticPartitionsDefinition(list(_FILES.refiners))
RECIPE = dg.StaticPartitionsDefinition(list(_FILES.recipes))
DATASET = dg.StaticPartitionsDefinition(list(_FILES.datasets))
BENCHMARK = dg.StaticPartitionsDefinition(list(_FILES.benchmarks))
SNAPSHOT_REFINER = dg.MultiPartitionsDefinition({"snapshot": SNAPSHOT, "refiner": REFINER})
BENCHMARK_RECIPE = dg.MultiPartitionsDefinition({"benchmark": BENCHMARK, "recipe": RECIPE})


def register(instance: dg.DagsterInstance, snapshots: list[str]) -> list[str]:
    """Adds snapshot keys that Dagster does not know yet; returns those."""
    known = set(instance.get_dynamic_partitions("snapshot"))
    new = [snapshot for snapshot in snapshots if snapshot not in known]
    if new:
        instance.add_dynamic_partitions("snapshot", new)
    return new
