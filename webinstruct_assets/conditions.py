"""What Dagster may start by itself: two conditions over the assets from the crawl to the dataset, and none below it.

``RECALL`` covers a snapshot down to its recalled URLs, ``EXTRACT`` from there to the dataset. Each is evaluated by a
sensor of its own (``automation.py``). Both are Dagster's ``on_missing``, not ``eager``, which would mine the whole crawl
again whenever a model or benchmark is made anew: a partition is asked for once, when its key appears while the sensor is
on; what failed then is for a backfill of "failed and missing" or the schedule.
"""

import time
from functools import lru_cache
from pathlib import Path

import dagster as dg

from webinstruct_assets.core.config import Environment
from webinstruct_assets.core.errors import BadKey
from webinstruct_assets.core.keys import PartitionKey, profile_of
from webinstruct_assets.core.workspace import Workspace, project_root
from webinstruct_assets.graph import BY_ASSET, closure
from webinstruct_assets.stages.funnel.funnel import FUNNEL
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE

# Whatever a partition of any snapshot needs, by its inputs; and the funnel, which takes what is there.
_WS, _ANY = Workspace.open(), PartitionKey.of({"snapshot": "local-any"})
RECALLED = {ref.asset for ref in closure(_WS, [RECALLED_URLS.ref(_ANY)], None)}
MINED = {ref.asset for ref in closure(_WS, [WEBINSTRUCT_RELEASE.ref(_ANY)], None)} | {FUNNEL.asset}

KEPT_SECONDS = 10  # a tick asks for the configuration some sixty times


@lru_cache(maxsize=1)
def _config(root: Path, moment: int) -> Environment:
    return Workspace.open(root).config


class InEnvironment(dg.AutomationCondition[dg.AssetKey]):
    """True for partitions of the active refiners and benchmarks, and of snapshots that ``automation.oldest`` lets in.

    Dagster knows a partition for every file in ``config/``; those that this environment does not use are no reason to
    wait, nor to start a run that must fail.
    """

    @property
    def name(self) -> str:
        """Shown in the UI."""
        return "in_environment"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Dagster calls it in the code location, once per tick."""
        config = _config(project_root(), int(time.monotonic() // KEPT_SECONDS))
        active = {"refiner": config.refiners, "benchmark": config.benchmarks}
        dimensions = BY_ASSET[context.key.to_user_string()].dimensions

        def wanted(text: str) -> bool:
            try:
                key = PartitionKey.parse(dimensions, text).as_dict()
            except BadKey:  # added by hand in the UI, which takes any string
                return False
            if profile_of(key.get("snapshot", "")):  # a comparison, which a person starts
                return False
            oldest = config.automation.oldest
            new_enough = (
                oldest is None or key.get("snapshot", "").startswith("local-") or key.get("snapshot", oldest) >= oldest
            )
            return new_enough and all(key[name] in active[name] for name in key if name in active)

        keys = {text for text in context.candidate_subset.expensively_compute_partition_keys() if wanted(text)}
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection_with_partition_keys(keys))


_WAITING = dg.AutomationCondition.any_deps_match(
    dg.AutomationCondition.missing() & InEnvironment() & ~dg.AutomationCondition.will_be_requested()
).with_label("an input is missing")
_NEW = (
    InEnvironment()
    & dg.AutomationCondition.missing().newly_true().since_last_handled().with_label("new and missing")
    & ~_WAITING
)
RECALL = _NEW.with_label("recall")
EXTRACT = _NEW.with_label("extract")
# Benchmarks are files, known before the sensor's first look, small, and needed by every snapshot.
BENCHMARKS = (
    InEnvironment()
    & dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.in_progress()
    & ~dg.AutomationCondition.execution_failed()
).with_label("extract")


def condition_of(asset: str) -> "dg.AutomationCondition[dg.AssetKey] | None":
    """The condition of an asset, None where a person decides: reviews, training, scores."""
    if asset not in MINED:
        return None
    if "snapshot" not in BY_ASSET[asset].dimensions:
        return BENCHMARKS
    return RECALL if asset in RECALLED else EXTRACT


def conditioned(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The asset with its condition."""
    return asset.map_asset_specs(
        lambda spec: spec.replace_attributes(automation_condition=condition_of(spec.key.to_user_string()))
    )
