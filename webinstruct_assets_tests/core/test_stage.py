"""Execution of a stage: identity, resume after kill -9, conservation, publication."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from webinstruct_assets.core import lake
from webinstruct_assets.core import manifest as manifest_module
from webinstruct_assets.core.errors import BadManifest, Busy, MissingInput, QualityGate
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import ref_of
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit, execute, from_reference
from webinstruct_assets.core.workspace import Workspace

KEY = PartitionKey.of({"snapshot": "local-test"})
SCHEMA = {"id": pl.String(), "parent_id": pl.String(), "n": pl.Int64()}


def numbers(job: Job) -> None:
    for index in range(4):
        job.unit(
            f"{index}",
            lambda index=index: Unit(
                rows=[{"id": f"nn-{index}-{n}", "parent_id": "", "n": n} for n in range(index)],
                rejects=[Reject(f"nn-{index}-x", "", "odd", "why")],
                rows_in=index + 1,
            ),
        )


def stage(**changes: object) -> Stage:
    base = Stage(
        asset="numbers",
        dimensions=("snapshot",),
        prefix="nn",
        schema=SCHEMA,
        run=numbers,
        inputs=lambda ws, key: [],
        settings=lambda ws, key: {"a": 1},
        sources=("core/ids.py",),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def build(ws: Workspace, item: Stage) -> object:
    return execute(item, KEY, ws, log=lambda line: None, run_id="test")


def test_publishes_parts_rejects_and_counts(workspace: Workspace) -> None:
    manifest = execute(stage(), KEY, workspace, log=print, run_id="test")
    assert (manifest.rows_in, manifest.rows, manifest.rejected) == (10, 6, {"odd": 4})
    assert workspace.lake.read(manifest)["n"].sum() == 0 + 0 + 1 + 0 + 1 + 2
    assert pl.read_parquet(workspace.lake.reject_paths(manifest))["reason"].to_list() == ["odd"] * 4
    assert workspace.lake.manifests("numbers") == [manifest]


def test_finished_work_is_not_redone_and_changes_are(workspace: Workspace) -> None:
    first = execute(stage(), KEY, workspace, log=print, run_id="one")
    assert execute(stage(), KEY, workspace, log=print, run_id="two") == first
    changed = execute(stage(settings=lambda ws, key: {"a": 2}), KEY, workspace, log=print, run_id="three")
    assert changed.run_id == "three" and changed.data_dir != first.data_dir
    assert not (workspace.lake.folder(stage().ref(KEY)) / first.data_dir).exists()


def test_a_deleted_part_is_made_again(workspace: Workspace) -> None:
    manifest = execute(stage(), KEY, workspace, log=print, run_id="one")
    part = workspace.lake.part_paths(manifest)[2]
    part.unlink()
    with pytest.raises(BadManifest, match=part.name):
        workspace.lake.require(stage().ref(KEY), "test")


def test_lost_records_are_an_error(workspace: Workspace) -> None:
    def loses(job: Job) -> None:
        job.unit("0", lambda: Unit(rows=[], rows_in=3))

    with pytest.raises(AssertionError, match="3 in, 0 kept, 0 rejected"):
        build(workspace, stage(run=loses))


def test_nothing_is_published_when_empty_or_refused(workspace: Workspace) -> None:
    manifest = build(workspace, stage())

    def empty(job: Job) -> None:
        job.unit("0", lambda: Unit(rows=[], rows_in=0))

    with pytest.raises(QualityGate, match="no rows"):
        build(workspace, stage(run=empty, settings=lambda ws, key: {"a": 3}))
    assert workspace.lake.manifest(stage().ref(KEY)) == manifest


def test_a_missing_input_is_named(workspace: Workspace) -> None:
    needs = stage(inputs=lambda ws, key: [Ref("other", key)])
    with pytest.raises(MissingInput, match="numbers/local-test needs other/local-test"):
        build(workspace, needs)


def test_a_second_writer_is_refused(workspace: Workspace) -> None:
    with workspace.lake.lock(stage().ref(KEY)), pytest.raises(Busy, match=str(os.getpid())):
        build(workspace, stage())


def test_a_broken_manifest_names_file_and_field(workspace: Workspace) -> None:
    build(workspace, stage())
    path = workspace.lake.folder(stage().ref(KEY)) / "manifest.json"
    path.write_text(path.read_text().replace('"rows_in": 10', '"rows_in": "many"'))
    with pytest.raises(BadManifest, match=r"manifest.json: field 'rows_in'"):
        workspace.lake.manifest(stage().ref(KEY))


def test_kill_9_costs_only_the_unit_in_flight(workspace: Workspace) -> None:
    """A child is killed inside its third unit; the next run redoes that one and ends with equal digests."""
    child = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        sys.path[:0] = [sys.argv[2], str(Path(sys.argv[2]).parent)]
        import test_stage
        from webinstruct_assets.core.stage import Unit, execute, from_reference
        from webinstruct_assets.core.workspace import Workspace

        def dies(job):
            original = job.unit
            def unit(name, compute):
                if name == "2":
                    (job.folder / ".part-2.parquet.tmp-1").write_bytes(b"half")
                    os.kill(os.getpid(), signal.SIGKILL)
                original(name, compute)
            job.unit = unit
            test_stage.numbers(job)

        execute(test_stage.stage(run=dies), test_stage.KEY, Workspace.open(Path(sys.argv[1])), log=print, run_id="child")
    """)
    answer = subprocess.run([sys.executable, "-c", child, str(workspace.root), str(Path(__file__).parent)], check=False)
    assert answer.returncode == -signal.SIGKILL
    assert workspace.lake.manifest(stage().ref(KEY)) is None

    computed: list[str] = []

    def counting(job: Job) -> None:
        for index in range(4):

            def compute(index: int = index) -> Unit:
                computed.append(str(index))
                return Unit(
                    rows=[{"id": f"nn-{index}-{n}", "parent_id": "", "n": n} for n in range(index)],
                    rejects=[Reject(f"nn-{index}-x", "", "odd", "why")],
                    rows_in=index + 1,
                )

            job.unit(str(index), compute)

    resumed = execute(stage(run=counting), KEY, workspace, log=print, run_id="again")
    assert computed == ["2", "3"]
    other = Workspace(workspace.root / "undisturbed", workspace.files)
    assert execute(stage(), KEY, other, log=print, run_id="calm").data_version == resumed.data_version


def test_a_reused_partition_points_at_its_reference(workspace: Workspace) -> None:
    reusable = stage(reuses=from_reference("numbers"))
    reference = execute(reusable, KEY, workspace, log=print, run_id="one")
    workspace.set_reference("local-other", "local-test")
    other = PartitionKey.of({"snapshot": "local-other"})
    manifest = execute(reusable, other, workspace, log=print, run_id="two")
    assert manifest.reuses == "numbers/local-test"
    assert (manifest.parts, manifest.rows, manifest.data_version) == (
        [],
        reference.rows,
        reference.data_version,
    )
    assert workspace.lake.read(manifest).equals(workspace.lake.read(reference))


def test_a_manifest_of_every_version_is_read(workspace: Workspace) -> None:
    """Files as older code published them, ``manifests/vN.json``: whoever raises the version adds one, and its migration.

    The first is from before ``cpu_seconds``: a field that old manifests lack has a default that is true of them.
    """
    folder = Path(__file__).with_name("manifests")
    for version in range(1, manifest_module.SCHEMA_VERSION + 1):
        old = json.loads((folder / f"v{version}.json").read_text())
        assert old["schema_version"] == version
        ref = Ref(old["asset"], PartitionKey.of(old["keys"]))
        workspace.lake.save(f"{ref.path()}/manifest.json", json.dumps(old).encode())
        read = workspace.lake.manifest(ref)
        assert (
            read and read.schema_version == manifest_module.SCHEMA_VERSION and read.data_version == old["data_version"]
        )
        assert (
            read.cpu_seconds == 0 and read.rows == old["rows"] and read.rows_kept + read.rejected_total == read.rows_in
        )


def test_old_manifests_are_migrated_or_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later schema reads what has a migration, and names what has none; the file stays as it was published."""
    published = execute(stage(), KEY, workspace, log=print, run_id="r")
    path = workspace.lake.folder(ref_of(published)) / "manifest.json"
    before = path.read_bytes()
    monkeypatch.setattr(lake, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(manifest_module, "SCHEMA_VERSION", 3)
    with pytest.raises(BadManifest, match="manifest schema 1, this code reads 3"):
        workspace.lake.manifest(ref_of(published))
    monkeypatch.setattr(
        manifest_module,
        "MIGRATIONS",
        {
            1: lambda old: {**old, "run_id": f"{old['run_id']}-2"},
            2: lambda old: {**old, "run_id": f"{old['run_id']}-3"},
        },
    )
    read = workspace.lake.manifest(ref_of(published))
    assert read and (read.schema_version, read.run_id) == (3, "r-2-3") and path.read_bytes() == before
    path.write_bytes(b"[]")
    with pytest.raises(BadManifest, match="not a manifest"):
        workspace.lake.manifest(ref_of(published))
    assert execute(stage(), KEY, workspace, log=print, run_id="again").run_id == "again"
    rebuilt = workspace.lake.manifest(ref_of(published))
    assert rebuilt and rebuilt.rows == published.rows, "what cannot be read is built again"
