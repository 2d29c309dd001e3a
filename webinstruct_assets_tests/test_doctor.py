"""``webinstruct doctor``: what works is ok; each thing that is broken is named with what to do."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
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
    return [item for item in doctor.examine(home) if item.check == check]


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


def test_gpus(home: Path) -> None:
    configure(home, models={"smollm2-135m": {"source": "hub:a/b", "vllm_args": ["--tensor-parallel-size", "64"]}})
    assert [item.what.partition(", ")[2] for item in found(home, "gpu")][-1:] == ["smollm2-135m wants 64"]


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
