"""Sensor and schedule against a real instance, and the graph's names as a decision."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from webinstruct_assets import automation
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.definitions import defs
from webinstruct_assets.graph import STAGES
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets.stages.funnel.funnel import FUNNEL
from webinstruct_assets.stages.funnel.funnel import refs as counted_refs


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


@pytest.fixture
def crawled(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with the demo crawl, which the sensor and the schedule open by WEBINSTRUCT_HOME."""
    monkeypatch.setenv("WEBINSTRUCT_HOME", str(workspace.root))
    build_demo_crawl(
        workspace.path(workspace.config.crawl.demo_sources),
        workspace.path(workspace.config.crawl.local_root),
        "local-demo",
    )
    return workspace


def test_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs)


def test_asset_names_are_a_decision() -> None:
    """A renamed asset loses its history: rename here only on purpose."""
    assert [stage.asset for stage in STAGES] == [
        "crawl_index",
        "seed_set",
        "fasttext_model",
        "round1_recall",
        "round1_domains",
        "round2_seed_set",
        "round2_model",
        "round2_recall",
        "round2_domains",
        "recalled_urls",
        "pages",
        "extracted_qa",
        "benchmark_items",
        "decontaminated_qa",
        "deduplicated_qa",
        "refined_qa",
        "quality_review",
        "webinstruct",
        "verified_qa",
        "webinstruct_release",
        "funnel",
        "sft_dataset",
        "trained_checkpoint",
        "benchmark_scores",
    ]
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {stage.asset for stage in STAGES}
    assert len({stage.prefix for stage in STAGES}) == len(STAGES)


def test_assets_tell_what_they_are() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert (
            spec.group_name == "webinstruct" and spec.owners and spec.kinds and spec.description and spec.code_version
        ), spec.key


def test_the_lineage_is_the_stages_inputs(workspace: Workspace) -> None:
    """Dagster's edges are those of the manifests."""
    values = {name: list(getattr(workspace.files, f"{name}s")) for name in ("refiner", "recipe", "benchmark")}
    values["snapshot"] = ["local-demo"]
    graph = defs.resolve_asset_graph()
    for stage in STAGES:
        combinations = itertools.product(*(values[name] for name in stage.dimensions))
        keys = [PartitionKey.of(dict(zip(stage.dimensions, item, strict=True))) for item in combinations]
        refs = [ref for key in keys for ref in stage.inputs(workspace, key)]
        if stage is FUNNEL:  # reads what is there: in this empty lake, nothing but what it cannot do without
            refs = counted_refs(workspace, "local-demo")
        used = {ref.asset for ref in refs} - {stage.asset}
        drawn = {key.to_user_string() for key in graph.get(dg.AssetKey(stage.asset)).parent_keys}
        assert used == drawn, stage.asset


def test_the_sensor_registers_what_the_sources_list(crawled: Workspace, instance: dg.DagsterInstance) -> None:
    context = dg.build_sensor_context(instance=instance, resources={"workspace": WorkspaceResource()})
    result = automation.new_snapshots(context)
    assert isinstance(result, dg.SensorResult)
    assert [list(request.partition_keys) for request in result.dynamic_partitions_requests or []] == [["local-demo"]]
    instance.add_dynamic_partitions("snapshot", ["local-demo"])
    assert isinstance(automation.new_snapshots(context), dg.SkipReason)


def test_the_schedule_asks_for_unmined_snapshots(crawled: Workspace, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("snapshot", ["local-b", "local-a", "../etc"])
    from datetime import UTC, datetime

    context = dg.build_schedule_context(
        instance=instance,
        resources={"workspace": WorkspaceResource()},
        scheduled_execution_time=datetime(2026, 1, 2, tzinfo=UTC),
    )
    requests = [request for request in automation.backfill_snapshots(context) if isinstance(request, dg.RunRequest)]
    assert [request.partition_key for request in requests] == ["local-a", "local-b"]


def test_everything_scheduled_is_stopped_by_default() -> None:
    repository = defs.get_repository_def()
    assert all(item.default_status == dg.DefaultScheduleStatus.STOPPED for item in repository.schedule_defs)
    assert all(item.default_status == dg.DefaultSensorStatus.STOPPED for item in repository.sensor_defs)


def test_refinement_follows_by_itself_where_the_sensor_is_on() -> None:
    """The sensor's assets carry the condition: without it they would be watched and never requested."""
    graph = defs.resolve_asset_graph()
    conditioned = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).automation_condition}
    assert conditioned == {"refined_qa", "webinstruct", "webinstruct_release"}
