"""Sensor and schedule against a real instance, and the graph's names as a decision."""

import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from webinstruct_assets import automation, backfill, runner, status
from webinstruct_assets.assets.publishing import GROUPS
from webinstruct_assets.cli import main
from webinstruct_assets.conditions import RECALLED
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.definitions import defs
from webinstruct_assets.graph import BY_ASSET, STAGES, States
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.crawl.capture import Capture
from webinstruct_assets.stages.crawl.crawl_index import CRAWL_INDEX
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets.stages.crawl.writer import building, write_snapshot
from webinstruct_assets.stages.crawl.writer import publish as publish_crawl
from webinstruct_assets.stages.funnel.funnel import FUNNEL
from webinstruct_assets.stages.funnel.funnel import refs as counted_refs
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET
from webinstruct_assets_tests.crawls import configured
from webinstruct_assets_tests.partitions import filled, made, publish
from webinstruct_assets_tests.stages.results.evaluated import evaluated, trained


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
        "public_sets",
        "sft_dataset",
        "trained_checkpoint",
        "benchmark_scores",
        "results_report",
    ]
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {stage.asset for stage in STAGES}
    assert len({stage.prefix for stage in STAGES}) == len(STAGES)


def test_assets_tell_what_they_are() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert spec.owners and spec.kinds and spec.description and spec.code_version, spec.key
        # What is in no group of GROUPS is recall: nothing else may land there by being forgotten.
        recalled = spec.key.to_user_string() in RECALLED
        assert (spec.group_name == "recall") is recalled and (spec.group_name in GROUPS) is not recalled, spec.key


def test_the_lineage_is_the_stages_inputs(workspace: Workspace) -> None:
    """Dagster's edges are those of the manifests."""
    values = {
        name: list(getattr(workspace.files, f"{name}s")) for name in ("refiner", "recipe", "dataset", "benchmark")
    }
    values["snapshot"] = ["local-demo"]
    trained(workspace, "base-smollm2")
    evaluated(workspace, "base-smollm2", "demo-stem", [True])  # the report takes what is there
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
    # One that the list has no more keeps its key, and so its history; what is new beside it is added.
    root = crawled.path(crawled.config.crawl.local_root)
    (root / "collinfo.json").write_text(json.dumps([{"id": "local-new"}, {"id": "../../etc"}, {"id": "CC-MAIN-x"}]))
    result = automation.new_snapshots(context)
    assert isinstance(result, dg.SensorResult)
    (request,) = result.dynamic_partitions_requests or []
    assert isinstance(request, dg.AddDynamicPartitionsRequest) and list(request.partition_keys) == ["local-new"]


def materialized(instance: dg.DagsterInstance, asset: str, *partitions: str) -> None:
    for partition in partitions:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


class Ticks:
    """One look of a sensor after another, and what it asks for."""

    def __init__(self, instance: dg.DagsterInstance, sensor: dg.AutomationConditionSensorDefinition):
        self.instance, self.selection = instance, sensor.asset_selection
        self.cursor: Any = None

    def next(self) -> dict[str, set[str]]:
        result = dg.evaluate_automation_conditions(defs, self.instance, self.selection, cursor=self.cursor)
        self.cursor = result.cursor
        asked = {
            key: result.get_requested_partitions(key) for key in self.selection.resolve(defs.resolve_asset_graph())
        }
        return {key.to_user_string(): set(found) for key, found in asked.items() if found}


def test_new_snapshots_are_mined_to_the_dataset_and_no_further(
    workspace: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBINSTRUCT_HOME", str(workspace.root))
    instance.add_dynamic_partitions("snapshot", ["CC-MAIN-2020-05"])
    recall, extract = Ticks(instance, automation.recall), Ticks(instance, automation.extract)
    good, bad = "CC-MAIN-2026-05", "CC-MAIN-2026-09"
    assert recall.next() == {}, "snapshots known before are a backfill's"
    assert extract.next() == {"benchmark_items": {"demo-stem"}}, "one that every snapshot needs"
    materialized(instance, "benchmark_items", "demo-stem")
    instance.add_dynamic_partitions("snapshot", [good, bad, "../etc"])
    asked = recall.next()
    assert list(asked.values()) == [{good, bad}] * len(asked)
    assert {"crawl_index", "round2_domains", "recalled_urls"} <= asked.keys()
    for asset in asked:
        materialized(instance, asset, good, bad)
    extracted = ("pages", "extracted_qa", "decontaminated_qa", "deduplicated_qa")
    assert extract.next() == {asset: {good, bad} for asset in extracted}
    # One snapshot fails its gate: it stops, and is not asked for again.
    for asset in extracted:
        materialized(instance, asset, good)
    refined = {f"{refiner}|{good}" for refiner in workspace.config.refiners}
    assert extract.next() == {"refined_qa": refined}
    materialized(instance, "refined_qa", *refined)
    last = ("webinstruct", "webinstruct_release", "funnel")
    assert extract.next() == {asset: {good} for asset in last}
    for asset in last:
        materialized(instance, asset, good)
    # A benchmark that is made anew is no reason to mine anything again; and training is never started.
    materialized(instance, "benchmark_items", "demo-stem")
    assert extract.next() == {}


def test_old_snapshots_are_left_to_backfills(
    workspace: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBINSTRUCT_HOME", str(workspace.root))
    configured(workspace, automation={"oldest": "CC-MAIN-2026-01"})
    ticks = Ticks(instance, automation.recall)
    ticks.next()
    instance.add_dynamic_partitions("snapshot", ["CC-MAIN-2025-51", "CC-MAIN-2026-05", "local-x"])
    assert ticks.next()["crawl_index"] == {"CC-MAIN-2026-05", "local-x"}


def small_snapshots(ws: Workspace, *names: str) -> None:
    """Snapshots of eight pages in four files."""
    root, html = ws.path(ws.config.crawl.local_root), (("Content-Type", "text/html"),)
    pages = [Capture(f"https://site{n}.example/", "2026-01-02T00:00:00Z", html, b"<p>A page</p>") for n in range(8)]
    for name in names:
        with building(root, name) as folder:
            write_snapshot(folder, name, pages, files=4)
            publish_crawl(folder, root, name, "eight pages")


def requests_at(instance: dg.DagsterInstance, moment: datetime) -> tuple[dict[str, dg.RunRequest], str]:
    """Run requests by partition, or why there are none."""
    context = dg.build_schedule_context(
        instance=instance, resources={"workspace": WorkspaceResource()}, scheduled_execution_time=moment,
        repository_def=defs.get_repository_def(),
    )  # fmt: skip
    tick = automation.backfill_snapshots.evaluate_tick(context)
    return {request.tags["dagster/partition"]: request for request in tick.run_requests or []}, tick.skip_message or ""


def test_the_schedule_goes_on_step_by_step_within_its_budget(
    workspace: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two snapshots a night; one fails and rests; what was published is not asked for again."""
    monkeypatch.setenv("WEBINSTRUCT_HOME", str(workspace.root))
    night = datetime(2026, 1, 2, 23, 0, tzinfo=UTC)
    ws = configured(workspace, backfill={"snapshots": 2, "window": "22:00-06:00"})
    small_snapshots(ws, "local-a", "local-b", "local-c")
    instance.add_dynamic_partitions("snapshot", ["local-c", "local-b", "local-a", "../etc"])
    steps, reason = requests_at(instance, datetime(2026, 1, 2, 21, 59, tzinfo=UTC))
    assert not steps and "outside the window 22:00-06:00" in reason

    steps, _ = requests_at(instance, night)
    assert set(steps) == {"local-a", "local-b", "demo-stem"}
    assets = [key.to_user_string() for key in steps["local-a"].asset_selection or []]
    assert assets[0] == "crawl_index" and assets[-1] == "extracted_qa", "what follows needs the benchmark's items"
    for outcome, key in ((dg.DagsterRunStatus.FAILURE, "local-a"), (dg.DagsterRunStatus.SUCCESS, "local-b")):
        instance.create_run_for_job(
            defs.resolve_implicit_global_asset_job_def(), tags=dict(steps[key].tags), status=outcome,
            asset_selection=frozenset(steps[key].asset_selection or []),
        )  # fmt: skip
    publish(ws, CRAWL_INDEX, PartitionKey.of({"snapshot": "local-b"}), [filled(CRAWL_INDEX, id="ci-1")])
    steps, _ = requests_at(instance, night + timedelta(hours=2))
    assert set(steps) == {"local-b", "demo-stem"}, "the one that failed rests, and keeps its place"
    assert (steps["local-b"].asset_selection or [])[0] == dg.AssetKey("seed_set")
    steps, _ = requests_at(instance, night + timedelta(days=1))
    assert set(steps) == {"local-a", "local-b", "demo-stem"}, "a new window, and what is missing"


def test_the_funnel_is_asked_for_when_all_that_it_counts_is_there(workspace: Workspace) -> None:
    ws = configured(workspace)
    for ref in backfill.missing(ws, "local-a"):
        assert ref.asset != "funnel"
        publish(ws, BY_ASSET[ref.asset], ref.key, [filled(BY_ASSET[ref.asset], id="x-1")])
    assert [str(ref) for ref in backfill.missing(ws, "local-a")] == ["funnel/local-a"]
    publish(ws, FUNNEL, PartitionKey.of({"snapshot": "local-a"}), [filled(FUNNEL, id="fu-1")])
    assert backfill.missing(ws, "local-a") == []


def test_a_run_down_to_the_dataset_makes_the_funnel_too(crawled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Ref] = []

    def planned(ws: Workspace, refs: list[Ref]) -> list[Manifest]:
        asked.extend(refs)
        return []

    monkeypatch.setattr(runner, "run_all", planned)
    for arguments, last in (
        (["--to", "webinstruct"], ["webinstruct/local-demo", "funnel/local-demo"]),
        (["--to", "webinstruct_release"], ["webinstruct_release/local-demo", "funnel/local-demo"]),
        (["--to", "pages"], ["recalled_urls/local-demo", "pages/local-demo"]),
        (["--select", "webinstruct"], ["webinstruct/local-demo"]),
    ):
        asked.clear()
        answer = CliRunner().invoke(main, ["run", "--snapshot", "local-demo", *arguments])
        assert [str(ref) for ref in asked[-2:]] == last, answer.output
    asked.clear()
    CliRunner().invoke(main, ["run", "--snapshot", "local-demo"])
    assert [ref.asset for ref in asked].count("funnel") == 1


def test_the_budget_in_bytes_and_dollars(workspace: Workspace) -> None:
    root, registered = workspace.path(workspace.config.crawl.local_root), ["local-a", "local-b", "local-c"]
    small_snapshots(workspace, *registered)
    wet = sum(path.stat().st_size for path in (root / "crawl-data/local-a").rglob("*.wet.gz"))
    ws = configured(workspace, backfill={"snapshots": 3, "bytes": round(2.5 * wet)})
    chosen, reason = backfill.choose(ws, registered, [], ())
    assert chosen == ["local-a", "local-b"] and "local-c would read" in reason
    ws = configured(workspace, backfill={"snapshots": 3, "bytes": None, "dollars": 1.0})
    assert backfill.choose(ws, registered, [], ())[0] == ["local-a"], "no snapshot is mined, so nobody knows a price"
    # A mined one: 4 WET files for 18,000 CPU-seconds at 0.04 dollars an hour are 0.2 dollars.
    mined = PartitionKey.of({"snapshot": "local-m"})
    files = [filled(CRAWL_INDEX, id=f"ci-{n}", kind="wet" if n % 2 else "warc") for n in range(8)]
    publish(ws, CRAWL_INDEX, mined, files)
    manifest = publish(ws, WEBINSTRUCT_RELEASE, mined, [filled(WEBINSTRUCT_RELEASE, id="wr-1")])
    ws.lake.publish(manifest.model_copy(update={"cpu_seconds": 18_000.0}), set())
    assert backfill.dollars_per_file(ws) == pytest.approx(0.05, abs=1e-3)
    ws = configured(workspace, backfill={"snapshots": 3, "dollars": 0.5})
    chosen, reason = backfill.choose(ws, registered, [], ())
    assert chosen == ["local-a", "local-b"] and "local-c would cost 0.20 dollars, 0.10 are left" in reason


@pytest.mark.parametrize(
    ("window", "hour", "name"),
    [
        (None, 3, "2026-01-02"),
        ("01:00-05:00", 3, "2026-01-02"),
        ("01:00-05:00", 5, None),
        ("22:00-06:00", 3, "2026-01-01"),
    ],
)
def test_windows(window: str | None, hour: int, name: str | None) -> None:
    assert backfill.window_at(window, datetime(2026, 1, 2, hour, tzinfo=UTC)) == name


def test_staleness_beyond_100_upstream_partitions(
    workspace: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe over 120 snapshots: one of them is built anew, and status, check and the partition's page say so."""
    monkeypatch.setenv("WEBINSTRUCT_HOME", str(workspace.root))
    snapshots = [f"CC-MAIN-20{year:02}-{week:02}" for year in (24, 25, 26) for week in range(1, 41)]
    ws = configured(workspace, release={})
    upstream = made(CRAWL_INDEX, lambda job: None)
    keys = [PartitionKey.of({"snapshot": key}) for key in snapshots]
    for key in keys:
        publish(ws, CRAWL_INDEX, key, [filled(CRAWL_INDEX, id=f"ci-{key}")])
    recipe = PartitionKey.of({"recipe": "demo-sft"})
    wide = replace(made(SFT_DATASET, lambda job: job.unit("0", lambda: Unit([filled(SFT_DATASET, id="sf-1")], 1))),
                   inputs=lambda ws, key: [CRAWL_INDEX.ref(item) for item in keys])  # fmt: skip
    monkeypatch.setitem(BY_ASSET, "sft_dataset", wide)
    monkeypatch.setitem(BY_ASSET, "crawl_index", replace(upstream, settings=lambda ws, key: {}))
    execute(wide, recipe, ws, log=print, run_id="test")
    assert States(ws).of(wide.ref(recipe)).up_to_date

    def checked() -> dg.AssetCheckEvaluation:
        job = defs.get_repository_def().get_job("refresh_staleness")
        result = job.execute_in_process(
            instance=instance, raise_on_error=True, resources={"workspace": WorkspaceResource()},
        )  # fmt: skip
        [found] = [item for item in result.get_asset_check_evaluations() if item.asset_key.path == ["sft_dataset"]]
        return found

    progress = dg.AssetObservation("sft_dataset", partition="demo-sft", metadata={"done": 1})
    instance.report_runless_asset_event(progress)  # as a build leaves it
    assert checked().passed
    shutil.rmtree(ws.lake.folder(CRAWL_INDEX.ref(keys[110])))
    publish(ws, CRAWL_INDEX, keys[110], [filled(CRAWL_INDEX, id="ci-other")])
    evaluation = checked()
    assert not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.WARN
    assert f"its inputs changed: crawl\\_index/{keys[110]}" in str(evaluation.metadata["stale_partitions"].value)
    [row] = [row for row in status.rows(ws) if row["asset"] == "sft_dataset" and row["partition"] == "demo-sft"]
    assert not row["up_to_date"] and str(keys[110]) in row["reason"]
    records = dg.AssetRecordsFilter(asset_key=dg.AssetKey("sft_dataset"), asset_partitions=["demo-sft"])
    [observed, _] = instance.fetch_observations(records, limit=5).records
    assert observed.asset_observation and "its inputs changed" in str(
        observed.asset_observation.metadata["staleness"].value
    )


def test_everything_that_starts_or_removes_runs_is_stopped_by_default() -> None:
    repository = defs.get_repository_def()
    assert all(item.default_status == dg.DefaultScheduleStatus.STOPPED for item in repository.schedule_defs)
    running = [item.name for item in repository.sensor_defs if item.default_status == dg.DefaultSensorStatus.RUNNING]
    assert running == ["end_dead_runs"]  # which only says what is so
