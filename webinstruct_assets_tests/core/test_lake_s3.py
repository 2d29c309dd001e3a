"""The lake in a bucket of a real S3 server: the same versions as on disk, from any machine, whatever breaks."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from webinstruct_assets import sql, status
from webinstruct_assets.assets.metadata import metadata_of
from webinstruct_assets.core import lake_s3, progress
from webinstruct_assets.core.config import S3Config
from webinstruct_assets.core.errors import BadManifest, Busy, ConfigError, Unavailable
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import Lake
from webinstruct_assets.core.lake_s3 import Bucket, Changed, S3Lake
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Unit, execute
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.graph import STAGES, Selection, closure, targets
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.recall.round2_recall import ROUND2_RECALL
from webinstruct_assets.takedown import take_down
from webinstruct_assets.trace import Tracer
from webinstruct_assets_tests import answers, s3
from webinstruct_assets_tests.conftest import make_home, rows_of, webinstruct
from webinstruct_assets_tests.core.engine import functions, program
from webinstruct_assets_tests.core.engine.program import KEY, read_log, with_engine
from webinstruct_assets_tests.core.engine.test_engines import stage_of
from webinstruct_assets_tests.crashes import program as crashed
from webinstruct_assets_tests.partitions import filled, made, publish

SERVERS = [
    "moto",
    pytest.param("radosgw", marks=[pytest.mark.slow, pytest.mark.skipif(not s3.has_radosgw(), reason="no radosgw")]),
]


@pytest.fixture(scope="module", params=SERVERS)
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with getattr(s3, request.param)(tmp_path_factory.mktemp(request.param)) as url:
        yield url


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lake_s3, "FRESH_SECONDS", 0.0)  # tests look at once at what another machine did


class Machines:
    """Machines with one bucket: each has a root, and so a working copy, of its own."""

    def __init__(self, folder: Path, endpoint: str, prefix: str):
        self.folder, self.endpoint, self.prefix = folder, endpoint, prefix

    def settings(self, **changes: object) -> S3Config:
        return S3Config.model_validate({"endpoint": self.endpoint, **changes})

    def bucket(self, **changes: object) -> Bucket:
        return Bucket(f"s3://{s3.BUCKET}/{self.prefix}", self.settings(**changes))

    def machine(self, name: str, endpoint: str | None = None, **settings: object) -> Workspace:
        """The workspace of a machine; all read the crawl of the first."""
        home = self.folder / name
        if not home.exists():
            make_home(home)
            (self.folder / "crawl").mkdir(exist_ok=True)
            (home / "data/crawl").symlink_to(self.folder / "crawl")
        path = home / "config/environments/demo.yaml"
        content = yaml.safe_load(path.read_text())
        content["s3"] = {"endpoint": endpoint or self.endpoint, **settings}
        content["lake"] = f"s3://{s3.BUCKET}/{self.prefix}"
        content["extraction"]["llm"] = False
        path.write_text(yaml.safe_dump(content))
        return Workspace.open(home)

    def on_disk(self) -> Workspace:
        ws = self.machine("disk")
        path = ws.root / "config/environments/demo.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "lake": "data/lake"}))
        return Workspace.open(ws.root)


@pytest.fixture
def machines(tmp_path: Path, endpoint: str) -> Machines:
    return Machines(tmp_path, endpoint, tmp_path.name)


@pytest.fixture(scope="module")
def chain(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Machines, list[Manifest]]:
    """A crawl to pairs, rules only, in the bucket and on disk: the versions are the same."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.KEYS.items():
            patch.setenv(name, value)
        machines = Machines(folder, endpoint, "chain")
        disk = machines.on_disk()
        program.make_crawl(disk)
        wanted = [program.build(disk, folder / "disk.log"), execute(EXTRACTED_QA, KEY, disk, log=print, run_id="t")]
        shutil.rmtree(folder / "crawl/crawl-data")
        ws = machines.machine("a")
        program.make_crawl(ws)
        publish(ws, ROUND2_RECALL, KEY, [filled(ROUND2_RECALL, id="r2-x")])
        found = [program.build(ws, folder / "a.log"), execute(EXTRACTED_QA, KEY, ws, log=print, run_id="t")]
    assert [item.data_version for item in found] == [item.data_version for item in wanted]
    assert found[1].rows > 100 and found[0].rejected
    return machines, found


def test_another_machine_reads_everything(chain: tuple[Machines, list[Manifest]]) -> None:
    """Status, rows, SQL and provenance, from an empty working copy; nothing is computed again."""
    machines, (_, pairs) = chain
    ws = machines.machine("reader")
    rows = {row["asset"]: row for row in status.rows(ws, "local-test")}
    assert rows["extracted_qa"]["rows"] == pairs.rows and rows["extracted_qa"]["data_version"] == pairs.data_version
    assert not list((ws.root / "data/lake_cache").glob("**/part-*"))  # which took no part of anything
    counted = sql.Database(ws).sql("SELECT count(*) FROM extracted_qa")
    assert counted and counted.fetchall() == [(pairs.rows,)]
    assert ws.lake.read(pairs).height == pairs.rows
    assert not list((ws.root / "data/lake_cache/pages").glob("**/part-*"))
    steps = Tracer(ws).row(ws.lake.read(pairs)["id"][0])
    assert [step.asset for step in steps] == ["extracted_qa", "pages", "recalled_urls", "round2_recall"]
    assert steps[0].spans["question"]
    again: list[str] = []
    program.build(ws, machines.folder / "reader.log")
    execute(EXTRACTED_QA, KEY, ws, log=again.append, run_id="t")
    assert again == [f"extracted_qa/{KEY}: up to date, nothing to do"] and not read_log(machines.folder / "reader.log")
    assert ws.lake.names("pages") == [f"snapshot={KEY}"]
    # What people are shown is the bucket's address, and it leads somewhere.
    shown = metadata_of(ws, EXTRACTED_QA, pairs, None, {})
    assert shown["manifest"].value == f"{machines.bucket().url}/extracted_qa/snapshot={KEY}/manifest.json"
    assert str(machines.folder) not in repr(shown)
    address = ws.lake.file_address(pairs, pairs.everything[0].file)
    assert machines.bucket().find(address.removeprefix(f"{machines.bucket().url}/"))


def test_a_part_that_was_changed_or_lost_is_noticed(chain: tuple[Machines, list[Manifest]]) -> None:
    machines, (pages, _) = chain
    ws, bucket = machines.machine("checker"), machines.bucket()
    part = pages.parts[1]
    name = f"pages/snapshot={KEY}/{pages.data_dir}/{part.file}"
    good = bucket.get(name)
    assert good
    bucket.put(name, good[0][:-1] + b"?")
    with pytest.raises(BadManifest, match=rf"{part.file} is not what was published"):
        ws.lake.read(pages)
    assert not (ws.lake.data_folder(pages) / part.file).exists()
    bucket.delete([name])
    with pytest.raises(BadManifest, match=part.file):
        ws.lake.require(PAGES.ref(KEY), "test")
    bucket.put(name, good[0])
    assert ws.lake.read(pages).height == pages.rows


def killed_run(machines: Machines, ws: Workspace, log: Path, units: int) -> None:
    """A run of ``pages`` in a process of its own, killed when ``units`` are in the bucket."""
    command = [sys.executable, "-m", program.__name__, str(ws.root), "processes", "", str(log), "0.1"]
    child = subprocess.Popen(command, cwd=PROJECT_ROOT)
    bucket = machines.bucket()
    while len([name for name in bucket.below("pages") if "/unit-" in name]) < units:
        assert child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()


@pytest.mark.slow
def test_another_machine_goes_on_where_one_was_killed(
    chain: tuple[Machines, list[Manifest]], machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second, log = machines.machine("a"), machines.machine("b"), tmp_path / "log"
    program.make_crawl(first)
    killed_run(machines, first, log, 4)
    with pytest.raises(Busy, match=r"(?s)is being built by another run .*its lease ends in"):
        program.build(second, log)
    monkeypatch.setattr(lake_s3, "LEASE_SECONDS", 10.0)
    time.sleep(10.0)  # nobody renews it
    committed = {name for name in machines.bucket().below("pages") if "/unit-" in name}
    before = len(read_log(log))
    manifest = program.build(with_engine(second, "processes"), log)
    assert manifest.data_version == chain[1][0].data_version
    assert len(committed) + len(read_log(log)) - before == program.UNITS
    assert not machines.bucket().below("_leases")


@pytest.mark.slow
def test_a_killed_run_is_taken_up_at_once_by_its_own_machine(
    chain: tuple[Machines, list[Manifest]], machines: Machines, tmp_path: Path
) -> None:
    ws = machines.machine("a")
    program.make_crawl(ws)
    killed_run(machines, ws, tmp_path / "log", 3)
    assert program.build(ws, tmp_path / "log").data_version == chain[1][0].data_version


def test_kill_9_between_the_last_upload_and_the_manifest(
    chain: tuple[Machines, list[Manifest]], machines: Machines, tmp_path: Path
) -> None:
    ws = machines.machine("a")
    program.make_crawl(ws)
    child = """
import os, signal, sys
from pathlib import Path
from webinstruct_assets.core.lake_s3 import Bucket
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets_tests.core.engine import program
put = Bucket.put
def dies(self, name, data, **options):
    if name.endswith("manifest.json"):
        os.kill(os.getpid(), signal.SIGKILL)
    return put(self, name, data, **options)
Bucket.put = dies
program.build(Workspace.open(Path(sys.argv[1])), Path(sys.argv[2]))
"""
    command = [sys.executable, "-c", child, str(ws.root), str(tmp_path / "log")]
    assert subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode == -signal.SIGKILL
    assert ws.lake.manifest(PAGES.ref(KEY)) is None
    assert program.build(ws, tmp_path / "again").data_version == chain[1][0].data_version
    assert not read_log(tmp_path / "again")


def test_a_writer_that_lost_its_lease_overwrites_nothing(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slept through its lease publishes over the version it saw, or not at all."""
    first, second = machines.machine("a").lake, machines.machine("b").lake
    ref = Ref("numbers", KEY)
    made = version(ref, "one")
    with first.lock(ref):
        with ExitStack() as taken:
            with monkeypatch.context() as late:  # to the second one the lease of the first looks over
                late.setattr(lake_s3, "LEASE_SECONDS", 0.0)
                taken.enter_context(second.lock(ref))
            write(second, ref, version(ref, "two"))
        with pytest.raises(Busy, match="another machine"):
            write(first, ref, made)
    assert isinstance(second, S3Lake)
    found = second.manifest(ref)
    assert found and found.run_id == "two"
    assert list(machines.bucket().below("numbers")) == [f"numbers/snapshot={KEY}/manifest.json"]


def test_one_of_many_writers_wins(machines: Machines) -> None:
    bucket, won = machines.bucket(), []

    def write_it(number: int) -> None:
        try:
            won.append(bucket.put("race", f"{number}".encode(), over=None))
        except Changed:
            pass

    threads = [threading.Thread(target=write_it, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    tag = bucket.put("race", b"next", over=won[0])
    with pytest.raises(Changed):
        bucket.put("race", b"late", over=won[0])
    assert bucket.put("race", b"third", over=tag) != tag


def version(ref: Ref, run: str) -> Manifest:
    return Manifest(
        asset=ref.asset, partition=str(ref.key), keys=ref.key.as_dict(), code_version="", config={}, config_fingerprint="",
        fingerprint=run, inputs=[], data_dir=f"{run:0>12}", parts=[], rejects=[], files=[], rows_in=0, rows_kept=0, rows=0,
        rejected={}, metrics={}, data_version=run, started_at="", finished_at="", seconds=0, run_id=run, environment={},
    )  # fmt: skip


def write(lake: Lake, ref: Ref, manifest: Manifest) -> None:
    lake.open_build(ref, manifest.data_dir)
    lake.publish(manifest, set())


def test_a_takedown_of_one_machine_acts_on_all(chain: tuple[Machines, list[Manifest]]) -> None:
    machines, (pages, _) = chain
    one, other = machines.machine("one"), machines.machine("other")
    url = one.lake.read(pages)["url"][0]
    take_down(one, "url", url, "asked to", "ada")
    take_down(other, "domain", "site1.example", "asked to", "bob")
    assert {item.value for item in one.lake.takedowns.all()} == {url, "site1.example"}
    states = {row["asset"]: row["up_to_date"] for row in status.rows(other, "local-test")}
    assert states["pages"] is False
    again = program.build(other, machines.folder / "takedown.log")
    assert again.rejected["taken_down"] == 2 and url not in one.lake.read(again)["url"].to_list()
    assert one.lake.manifest(PAGES.ref(KEY)) == again
    for name in machines.bucket().below("_takedowns"):  # the other tests' chain is as it was
        machines.bucket().delete([name])
    shutil.rmtree(other.lake.root / "_takedowns")


def test_a_takedown_reads_ids_and_places_only(machines: Machines) -> None:
    """Of the parts that hold nothing of it; so an empty working copy stays empty but for what is traced."""
    pairs = {n: {"question": f"What is {n} plus {n}?", "answer": str(2 * n)} for n in range(4)}
    for n, text in pairs.items():
        key = PartitionKey.of({"snapshot": f"local-{n}"})
        ws = machines.machine("writer")
        place = {"url": f"https://site{n}.example/", "domain": f"site{n}.example"}
        publish(ws, PAGES, key, [filled(PAGES, id=f"pg-{n}", text="word " * 100_000, **place)])
        publish(ws, EXTRACTED_QA, key, [filled(EXTRACTED_QA, id=f"qa-{n}", parent_id=f"pg-{n}", **place, **text)])
    reader = machines.machine("reader")
    take_down(reader, "domain", "site2.example", "asked to", "ada")
    assert not list(reader.lake.root.glob("**/part-*"))
    held = reader.lake.takedowns.held().select("asset", "partition", "id", "text").rows()
    assert held == [("extracted_qa", "local-2", "qa-2", ""), ("pages", "local-2", "pg-2", "")]
    take_down(reader, "pair", "qa-3", "asked to", "ada")
    assert {path.parent.parent.name for path in reader.lake.root.glob("**/part-*")} == {"snapshot=local-3"}
    assert reader.lake.takedowns.held().filter(partition="local-3")["text"].to_list() == ["whatis3plus3?6"]
    # What is not as it was published is refused.
    (part,) = reader.lake.manifests("pages")[0].parts
    bucket = machines.bucket()
    (name,) = [name for name in bucket.below("pages/snapshot=local-0") if name.endswith(part.file)]
    bucket.delete([name])
    with pytest.raises(BadManifest, match="is gone"):
        take_down(machines.machine("other"), "domain", "site0.example", "asked to", "ada")


def test_links_between_snapshots_are_everybodys(machines: Machines) -> None:
    machines.machine("a").set_reference("local-new", "local-test")
    assert machines.machine("b").reference_for("local-new") == "local-test"


def test_500s_lost_answers_cut_and_slow_ones_change_nothing(
    chain: tuple[Machines, list[Manifest]], machines: Machines, tmp_path: Path
) -> None:
    with s3.spoilt(machines.endpoint, tmp_path, 0.15) as bad:
        ws = machines.machine("a", bad, timeout=1.0, attempts=12)
        program.make_crawl(ws)
        manifest = program.build(ws, tmp_path / "log")
        other = machines.machine("b", bad, timeout=1.0, attempts=12)
        assert other.lake.read(manifest).height == manifest.rows
        faults = json.load(urllib.request.urlopen(f"{bad}/_faults"))
    assert manifest.data_version == chain[1][0].data_version
    assert min(faults[name] for name in ("refused", "lost_answer", "cut", "slow")) > 0
    assert len(read_log(tmp_path / "log")) == program.UNITS


def test_a_large_upload_that_failed_is_not_taken_for_done(machines: Machines, tmp_path: Path) -> None:
    """It failed, and was dropped twice, the second time as one that is not there: no reason to believe that all is well."""
    (tmp_path / "weights").write_bytes(os.urandom(12_000_000))
    with s3.spoilt(machines.endpoint, tmp_path, 0.0, "upload") as bad:
        Bucket(f"s3://{s3.BUCKET}/{machines.prefix}", S3Config(endpoint=bad)).upload(tmp_path / "weights", "weights")
        faults = json.load(urllib.request.urlopen(f"{bad}/_faults"))
    found = machines.bucket().find("weights")
    assert found and found.size == 12_000_000 and (faults["refused"], faults["lost_answer"]) == (3, 1)


@contextmanager
def ray_nodes(cache: Path, folder: Path) -> Iterator[str]:
    """A Ray cluster of two workers, each of which has a file system of its own at ``cache``; yields its address."""
    ray, head = str(Path(sys.executable).with_name("ray")), s3.free_port()
    environment = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(PROJECT_ROOT)}
    store = ["--object-store-memory", str(100 << 20), "--block"]
    start = [ray, "start", "--head", "--port", str(head), "--num-cpus", "0",
             "--include-dashboard", "false", *store]  # fmt: skip
    join = " ".join([ray, "start", "--address", f"127.0.0.1:{head}", "--num-cpus", "1", *store])
    with ExitStack() as stack:

        def node(name: str, command: list[str]) -> None:
            log = folder / f"{name}.log"
            child = stack.enter_context(s3.process(command, log, **environment))
            while "Ray runtime started" not in log.read_text():
                assert child.poll() is None, log.read_text()
                time.sleep(0.2)

        node("head", start)
        for number in range(2):
            node(f"worker-{number}", ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {cache} && exec {join}"])
        yield f"127.0.0.1:{head}"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_ray_nodes_without_a_common_disk(
    chain: tuple[Machines, list[Manifest]], machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node has a working copy of its own: what units read and write goes through the bucket."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ws = machines.machine("a")
    program.make_crawl(ws)
    with ray_nodes(ws.lake.root, tmp_path) as address:
        call = (
            f"from {__name__} import runs_on_ray; runs_on_ray({str(ws.root)!r}, {address!r}, {str(tmp_path / 'log')!r})"
        )
        subprocess.run([sys.executable, "-c", call], cwd=PROJECT_ROOT, check=True, timeout=300)
    pages, read = (ws.lake.require(Ref(asset, KEY), "test") for asset in ("pages", "numbers"))
    assert pages.data_version == chain[1][0].data_version
    assert len({line.node for line in read_log(tmp_path / "log")}) == 2
    assert ws.lake.read(read)["n"].to_list() == [1000 + part.rows for part in pages.parts]
    assert read.metrics["nodes"] == 2


def runs_on_ray(home: str, address: str, log: str) -> None:
    """``pages``, and a stage whose units read parts of it and a file that the stage wrote; a program of its own."""

    def run(job: Job) -> None:
        note = job.folder / "scratch/note.txt"
        note.parent.mkdir(exist_ok=True)
        note.write_text("1000")
        paths = job.ws.lake.part_paths(*job.manifests("pages"))
        units = {f"{number:03}": (f"{number:03}", path) for number, path in enumerate(paths)}
        job.map(partial(_reads, note), units)
        job.metrics["nodes"] = sum(name.startswith("node-") for name in job.counts)

    ws = with_engine(Workspace.open(Path(home)), "ray", 2, address)
    program.build(ws, Path(log), 0.2)
    reader = replace(stage_of(functions.squares), run=run, inputs=lambda ws, key: [PAGES.ref(key)])
    execute(reader, KEY, ws, log=print, run_id="t")


def _reads(note: Path, named: tuple[str, Path]) -> Unit:
    return functions.reads(named[1], note, named[0])


def test_what_is_wrong_is_named(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="no answer after 2 attempts"):
        Bucket("s3://lake/x", S3Config(endpoint=f"http://127.0.0.1:{s3.free_port()}", attempts=2)).get("a")
    with pytest.raises(ConfigError, match="no such bucket"):
        Bucket("s3://no-such-bucket/x", machines.settings()).get("a")
    with pytest.raises(ConfigError, match="names no bucket"):
        Bucket("s3://", machines.settings())


@pytest.mark.slow
@pytest.mark.llm
@pytest.mark.timeout(3600)
def test_the_whole_graph(demo_home: Path, tmp_path: Path) -> None:
    """Every asset up to a checkpoint, by the command line, in a bucket: the versions are the demo's, which are on disk.

    The LLM's answers are the demo's own, from its ledger.
    """
    home = make_home(tmp_path / "home")
    (home / "data/crawl").symlink_to(demo_home / "data/crawl")
    shutil.copy(demo_home / "data/llm/ledger.sqlite", home / "data/llm")
    path = home / "config/environments/demo.yaml"
    server = s3.radosgw if s3.has_radosgw() else s3.moto
    (tmp_path / "server").mkdir()
    with server(tmp_path / "server") as endpoint:
        content = {**yaml.safe_load(path.read_text()), "lake": f"s3://{s3.BUCKET}/demo", "s3": {"endpoint": endpoint}}
        path.write_text(yaml.safe_dump(content))
        webinstruct(home, "run", "--snapshot", "local-demo", "--to", "webinstruct_release")
        webinstruct(home, "run", "--snapshot", "local-demo", "--recipe", "demo-sft", "--to", "trained_checkpoint")
        # A checkpoint's rows are its training's log, with times.
        versions = (
            "SELECT asset, partition, data_version FROM manifests WHERE asset != 'trained_checkpoint' ORDER BY ALL"
        )
        found = {tuple(row.values()) for row in rows_of(home, versions)}
        assert found <= {tuple(row.values()) for row in rows_of(demo_home, versions)}
        assert {row[0] for row in found} >= {"round2_model", "extracted_qa", "webinstruct_release", "sft_dataset"}
        checkpoint = Ref("trained_checkpoint", PartitionKey.of({"recipe": "demo-sft"}))
        weights, theirs = (Workspace.open(root).lake.require(checkpoint, "test").files for root in (home, demo_home))
        assert weights and weights == theirs
        (row,) = rows_of(home, "SELECT id FROM sft_dataset ORDER BY id LIMIT 1")
        assert "WARC record: " in webinstruct(home, "trace", row["id"]).stdout
        shutil.rmtree(home / "data/lake_cache")
        assert "WARC record: " in webinstruct(home, "trace", row["id"]).stdout
        states = json.loads(webinstruct(home, "status", "--json").stdout)
        assert all(
            item["up_to_date"] for item in states if (item["asset"], item["partition"]) in {row[:2] for row in found}
        )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_stage_under_faults(tmp_path: Path, endpoint: str) -> None:
    """Every asset by a server that spoils a request in ten, and three kills: what a disk has, and all can be read."""
    port = s3.free_port()
    disk, bucket, reader = (make_home(tmp_path / name) for name in ("disk", "bucket", "reader"))
    build_demo_crawl(PROJECT_ROOT / "data/demo", disk / "data/crawl", "local-demo")
    with s3.spoilt(endpoint, tmp_path, 0.1) as bad:
        for home in (disk, bucket, reader):
            lake = {} if home is disk else {"lake": f"s3://{s3.BUCKET}/{tmp_path.name}"}
            server = {"endpoint": bad, "timeout": 4.0, "attempts": 12}
            answers.configure(home, port, recipes=["base-smollm2", "demo-sft"], s3=server, **lake)
            recipe = home / "config/recipes/demo-sft.yaml"
            settings = {**yaml.safe_load(recipe.read_text()), "steps": 2, "max_length": 64}
            recipe.write_text(yaml.safe_dump(settings))
            if home is not disk:
                (home / "data/crawl").symlink_to(disk / "data/crawl")
        every = closure(Workspace.open(disk), targets(Workspace.open(disk), Selection(), ()), None)
        refs = [ref for ref in every if str(ref) != "benchmark_scores/demo-stem|demo-sft"]  # would be served by vLLM
        assert {ref.asset for ref in refs} >= {stage.asset for stage in STAGES} - {"public_sets"}

        def start(home: Path, engine: str) -> "subprocess.Popen[bytes]":
            (tmp_path / "log").unlink(missing_ok=True)
            command = [sys.executable, "-m", crashed.__name__, str(home), engine, str(tmp_path / "log")]
            return subprocess.Popen([*command, *map(str, refs)], cwd=PROJECT_ROOT)

        with answers.serving(disk, tmp_path / "asked", port):
            assert start(disk, "inline").wait() == 0
        with answers.serving(bucket, tmp_path / "asked", port):
            for kill, asset in enumerate(("round1_recall", "extracted_qa", "benchmark_scores")):
                child = start(bucket, "processes")
                while child.poll() is None and not _began(tmp_path / "log", asset):
                    time.sleep(0.05)
                time.sleep(0.5 * kill)
                assert child.poll() is None, "it ended before it could be killed"
                child.kill()
                child.wait()
            assert start(bucket, "processes").wait() == 0
        assert not [line for line in (tmp_path / "asked").read_text().splitlines() if line.endswith("again")]

        wanted, ws = Workspace.open(disk).lake, Workspace.open(reader)
        for ref in refs:
            theirs, ours = wanted.require(ref, "test"), ws.lake.require(ref, "test")
            assert (ours.rows_in, ours.rows, ours.rejected) == (theirs.rows_in, theirs.rows, theirs.rejected), ref
            if ref.asset == "trained_checkpoint":  # whose rows are a log with times
                assert ours.files == theirs.files
            elif ref.asset != "results_report":  # what everything took
                assert ours.data_version == theirs.data_version, ref
        assert all(row["up_to_date"] for row in status.rows(ws, "local-demo") if row["rows"] is not None)
        database = sql.Database(ws)
        for asset in dict.fromkeys(ref.asset for ref in refs):
            counted = database.sql(f"SELECT count(*) FROM {asset}")
            parts = [part for item in ws.lake.manifests(asset) for part in item.parts]
            assert counted and counted.fetchall() == [(sum(part.rows for part in parts),)], asset
        (data,) = [ref for ref in refs if str(ref) == "sft_dataset/demo-sft"]
        steps = Tracer(ws).row(ws.lake.read(ws.lake.require(data, "test"))["id"][0])
        assert steps[0].asset == "sft_dataset" and steps[-1].asset == "crawl_index"
        faults = json.load(urllib.request.urlopen(f"{bad}/_faults"))
    print(json.dumps(faults))
    assert min(faults[name] for name in ("refused", "lost_answer", "cut", "slow")) > 20
    # The key to the server is nowhere on these machines, nor in the bucket.
    secret = s3.KEYS["AWS_SECRET_ACCESS_KEY"].encode()
    for home in (bucket, reader):
        for path in home.rglob("*"):
            assert path.is_symlink() or not path.is_file() or secret not in path.read_bytes(), path
    clean = Bucket(f"s3://{s3.BUCKET}/{tmp_path.name}", S3Config(endpoint=endpoint))
    for name in clean.below(""):
        found = clean.get(name)
        assert found and secret not in found[0], name


def _began(log: Path, asset: str) -> bool:
    return log.exists() and f"begin {asset}/" in log.read_text()


def test_a_build_is_seen_from_other_machines(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it stands comes with its lease, and goes with it: when it ends, and some time after a kill."""
    monkeypatch.setattr(lake_s3, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(socket, "gethostname", lambda: "of-the-build")
    ws, other = machines.machine("a"), machines.machine("b")
    going_on = threading.Event()

    def run(job: Job) -> None:
        job.progress.start(10, "pages")
        job.progress.advance(4, {"too_short": 3})
        going_on.wait(60)
        job.unit("all", lambda: Unit(rows=[filled(PAGES, id="pg-1")], rows_in=1))

    def seen(count: int) -> list[progress.Standing]:
        end = time.monotonic() + 30
        while len(found := progress.builds(other.lake)) != count:
            assert time.monotonic() < end
            time.sleep(0.05)
        return found

    build = threading.Thread(target=partial(execute, made(PAGES, run), KEY, ws, log=print, run_id="t"))
    build.start()
    try:
        monkeypatch.setattr(socket, "gethostname", lambda: "of-who-looks-on")
        (standing,) = seen(1)
        assert (standing.label, standing.done, standing.total) == (f"pages {KEY}", 4, 10)
        assert standing.rejected == {"too_short": 3} and standing.eta is not None
        assert f"pages {KEY}: 4/10 pages" in "\n".join(status.report(other, None, 200))
    finally:
        going_on.set()
        build.join()
    assert progress.builds(other.lake) == [] and not machines.bucket().below("_leases")
    # A killed one: its lease stays, and is old soon.
    held = {"machine": "c", "host": "c", "pid": 1, "token": "", "progress": json.dumps({
        **asdict(standing), "host": "c", "process": [1, 1],
    })}  # fmt: skip
    machines.bucket().put(f"_leases/pages/{KEY.path()}", json.dumps(held).encode())
    assert [item.label for item in seen(1)] == [f"pages {KEY}"]
    seen(0)
    assert machines.bucket().below("_leases")
