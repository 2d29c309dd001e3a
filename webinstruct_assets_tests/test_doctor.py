"""``webinstruct doctor``: what works is ok; each thing that is broken is named with what to do."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import yaml

from webinstruct_assets import doctor
from webinstruct_assets_tests import s3
from webinstruct_assets_tests.conftest import webinstruct
from webinstruct_assets_tests.core.llm.test_balance import PROGRAM
from webinstruct_assets_tests.s3 import free_port, process, wait_for
from webinstruct_assets_tests.test_deploy import POSTGRES, cluster_home, postgres


def configure(home: Path, **fields: Any) -> None:
    path = home / "config/environments/demo.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}))


def found(home: Path, check: str) -> list[doctor.Finding]:
    items = doctor.examine(home)
    assert all(item.fix for item in items if item.level != "ok"), "a finding does not say what to fix"
    return [item for item in items if item.check == check]


def levels(home: Path, check: str) -> list[str]:
    return [item.level for item in found(home, check)]


def test_a_sound_environment(home: Path) -> None:
    answer = webinstruct(home, "doctor", "--json", check=False)
    items = json.loads(answer.stdout)
    assert {item["check"] for item in items} >= {"python", "packages", "memory", "disk", "gpu", "dagster", "ports"}
    assert not [item for item in items if item["level"] == "broken"] and answer.returncode == 0
    (crawl,) = [item for item in items if item["check"] == "crawl"]
    assert crawl["level"] == "warning" and "webinstruct demo" in crawl["fix"]


def test_a_broken_one_ends_with_1(home: Path) -> None:
    configure(home, models={"smollm2-135m": {"source": "hub:a/b", "base_url": f"http://127.0.0.1:{free_port()}/v1"}})
    answer = webinstruct(home, "doctor", check=False)
    assert answer.returncode == 1
    assert "broken   endpoints      smollm2-135m: none of 1 endpoints can be used" in answer.stdout
    assert "fix: start that server" in answer.stdout


def test_configuration(home: Path) -> None:
    configure(home, extraction={"model": 3})
    (item,) = found(home, "configuration")
    assert item.level == "broken" and "demo.yaml: field 'extraction.model'" in item.what


def test_packages(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(name: str) -> str:
        if name == "polars":
            raise PackageNotFoundError
        return "0.1" if name == "duckdb" else version(name)

    monkeypatch.setattr(doctor, "version", other)
    (item,) = found(home, "packages")
    assert item.level == "broken" and "polars is missing" in item.what and "duckdb 0.1 is not" in item.what


def test_disk(home: Path) -> None:
    configure(home, lake="/proc/lake")
    (item, *_) = found(home, "disk")
    assert item.level == "broken" and "/proc/lake cannot be written" in item.what


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
@pytest.mark.parametrize(
    ("free", "total", "disk", "levels"),
    [
        (1, 64, "1m", ["broken", "broken"]),
        pytest.param(8, 16, "2g", ["warning", "warning"], marks=pytest.mark.slow),
        pytest.param(30, 64, "11g", ["ok", "ok"], marks=pytest.mark.slow),
    ],
)
def test_memory_and_room(home: Path, tmp_path: Path, free: int, total: int, disk: str, levels: list[str]) -> None:
    """What a container sees: another meminfo (as lxcfs mounts it), and a small file system for scratch files."""
    (tmp_path / "meminfo").write_text(f"MemTotal: {total << 20} kB\nMemAvailable: {free << 20} kB\n")
    (tmp_path / "scratch").mkdir()
    mounts = "mount --bind $0 /proc/meminfo && mount -t tmpfs -o size=$1 none $2 && shift 2 && exec $@"
    command = ["unshare", "--mount", "sh", "-c", mounts, str(tmp_path / "meminfo"), disk, str(tmp_path / "scratch")]
    answer = subprocess.run(
        [*command, sys.executable, "-m", "webinstruct_assets.cli", "doctor", "--json"], capture_output=True, text=True,
        check=False, env={**os.environ, "WEBINSTRUCT_HOME": str(home), "TMPDIR": str(tmp_path / "scratch")},
    )  # fmt: skip
    if "permission denied" in answer.stderr:
        pytest.skip("mounting is not allowed here")
    items = json.loads(answer.stdout)
    (memory,) = [item for item in items if item["check"] == "memory"]
    (room,) = [item for item in items if item["what"].startswith("scratch: ")]
    assert [memory["level"], room["level"]] == levels and answer.returncode == (levels[0] == "broken")
    if levels[0] == "broken":
        assert "add memory" in memory["fix"] and "add space" in room["fix"]


def test_python(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    (item,) = found(home, "python")
    assert item.level == "broken" and item.what.startswith("3.12.1; ") and item.fix == "make PYTHON=python3.11"


def test_extras(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    items = found(home, "extras")
    assert [item.level for item in items] == ["broken", "broken"] and "vllm is missing" in items[0].what
    assert "pip install 'webinstruct-assets[llm-cpu or llm-gpu]'" in items[0].fix


def test_crawl_and_store(home: Path) -> None:
    configure(home, snapshots=["CC-MAIN-2026-05"], crawl={"source": str(home / "no-mirror")})
    (item,) = found(home, "crawl")
    assert item.level == "broken" and "CC-MAIN-2026-05" in item.what
    (home / "dagster.yaml").unlink()
    (item,) = found(home, "dagster")
    assert item.level == "broken" and "deploy/dagster.yaml" in item.fix


def test_gpus(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, models={"smollm2-135m": {"source": "hub:a/b", "vllm_args": ["--tensor-parallel-size", "64"]}})
    assert [item.what.partition(", ")[2] for item in found(home, "gpu")][-1:] == ["smollm2-135m wants 64"]
    # A machine whose driver is not loaded, and one with two GPUs.
    driver = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    driver.write_text("#!/bin/sh\necho NVIDIA-SMI has failed; exit 9\n")
    driver.chmod(0o755)
    first, _ = found(home, "gpu")
    assert first.level == "broken" and "NVIDIA-SMI has failed" in first.what and "load the driver" in first.fix
    driver.write_text("#!/bin/sh\necho GPU 0: A; echo GPU 1: B\n")
    configure(home, models={"smollm2-135m": {"source": "hub:a/b", "vllm_args": ["--tensor-parallel-size", "2"]}})
    (item,) = found(home, "gpu")
    assert (item.level, item.what) == ("ok", "2 GPUs")


def test_ports(home: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 3010))
            taken.listen()
        except OSError:
            pass  # somebody else has it, which is as good
        (item,) = [item for item in found(home, "ports") if item.what.startswith("3010")]
    assert item.level == "warning" and "--port" in item.fix


def test_clocks() -> None:
    def level(seconds: float) -> str:
        (item,) = doctor._clock("a server", datetime.now(UTC) + timedelta(seconds=seconds))
        return item.level

    assert [level(seconds) for seconds in (0, -10, 100)] == ["ok", "warning", "broken"]
    assert list(doctor._clock("a server", None)) == []


def test_an_endpoint_whose_clock_is_off(home: Path) -> None:
    class Late(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"data": [{"id": "m"}]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() - 3600)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Late) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        configure(home, models={"smollm2-135m": {"source": "hub:a/b", "base_url": url, "served_name": "m"}})
        (item,) = found(home, "clocks")
        server.shutdown()
    assert item.level == "broken" and item.what.startswith("36") and "chrony" in item.fix


@pytest.fixture
def completions(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with process([sys.executable, str(PROGRAM), str(port), str(tmp_path / "log"), "0"], tmp_path / "server.log"):
        wait_for(port, 30)
        yield f"http://127.0.0.1:{port}/v1"


def test_endpoints(home: Path, completions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"source": "hub:a/b", "base_url": [completions, f"http://127.0.0.1:{free_port()}/v1"], "served_name": "m"}
    configure(home, models={"smollm2-135m": model})
    assert levels(home, "endpoints") == ["ok", "warning"] and levels(home, "clocks") == ["ok"]
    configure(home, models={"smollm2-135m": {**model, "base_url": completions, "served_name": "other"}})
    (wrong, _) = found(home, "endpoints")
    assert wrong.level == "broken" and "serves m, not other" in wrong.what
    configure(home, models={"smollm2-135m": {**model, "api_key_env": "NO_SUCH_KEY"}})  # pragma: allowlist secret
    (item,) = found(home, "endpoints")
    assert item.level == "broken" and "NO_SUCH_KEY is not set" in item.what


def test_s3(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        endpoint = stack.enter_context(s3.moto(tmp_path))
        configure(home, lake=f"s3://{s3.BUCKET}/x", s3={"endpoint": endpoint})
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        (item,) = found(home, "s3")
        assert item.level == "broken" and "AWS_ACCESS_KEY_ID is not set" in item.what
        for name, value in s3.KEYS.items():
            monkeypatch.setenv(name, value)
        assert levels(home, "s3") == ["ok", "ok"]
        configure(home, lake="s3://no-such-bucket/x")
        (item,) = found(home, "s3")
        assert item.level == "broken" and "no such bucket" in item.what
        deaf = stack.enter_context(s3.spoilt(endpoint, tmp_path, 0.0, "deaf"))
        configure(home, lake=f"s3://{s3.BUCKET}/x", s3={"endpoint": deaf})
        assert levels(home, "s3") == ["ok", "broken"]
        assert "conditional_writes: false" in found(home, "s3")[1].fix
        configure(home, s3={"endpoint": deaf, "conditional_writes": False})
        assert levels(home, "s3") == ["ok"]


def test_postgres_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = cluster_home(tmp_path / "home", str(free_port()))
    (item,) = found(home, "postgres")
    assert item.level == "broken" and "WEBINSTRUCT_POSTGRES_HOST" in item.what
    for name in ("HOST", "USER", "PASSWORD", "DB"):
        monkeypatch.setenv(f"WEBINSTRUCT_POSTGRES_{name}", "127.0.0.1" if name == "HOST" else "hidden-word")
    (item,) = found(home, "postgres")
    assert item.level == "broken" and "refused" in item.what


@pytest.mark.slow
@pytest.mark.skipif(POSTGRES is None, reason="no postgres")
def test_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        home = cluster_home(tmp_path / "home", environment["PORT"])
        assert levels(home, "postgres") == ["ok"] and levels(home, "clocks") == ["ok"]
        monkeypatch.setenv("WEBINSTRUCT_POSTGRES_PASSWORD", "wrong")
        (item,) = found(home, "postgres")
        assert item.level == "broken" and "password authentication failed" in item.what


@pytest.mark.slow
def test_ray(home: Path) -> None:
    pytest.importorskip("ray")
    port = free_port()
    configure(home, engine={"kind": "ray", "address": f"127.0.0.1:{port}"})
    (item,) = found(home, "ray")
    assert item.level == "broken" and "refused" in item.what
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20})
    try:
        configure(home, engine={"kind": "ray", "address": cluster.address})
        assert levels(home, "ray") == ["broken"]
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        cluster.wait_for_nodes()
        (item,) = found(home, "ray")
        assert item.level == "ok" and "3 nodes, 2 CPUs" in item.what
    finally:
        cluster.shutdown()
