"""deploy/: its files by schema, and the processes that they start, natively: PostgreSQL, webservers, nginx."""

import base64
import http.client
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from webinstruct_assets.core.workspace import PROJECT_ROOT
from webinstruct_assets_tests.conftest import make_home, webinstruct
from webinstruct_assets_tests.s3 import free_port, process, wait_for

DEPLOY = PROJECT_ROOT / "deploy"
COMPOSE = DEPLOY / "docker-compose.yaml"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
POSTGRES = shutil.which("postgres")
KUBERNETES = "1.32.0"


def test_compose_file() -> None:
    """By the compose specification's own types; every name that it refers to is there."""
    from compose_spec import PyCompose, PyOptions

    content = yaml.safe_load(COMPOSE.read_text())
    PyOptions(apply_merge=True).from_yaml(COMPOSE.read_text()).validate()
    with pytest.raises(ValueError, match="port"):
        PyCompose.from_yaml("services: {nginx: {image: nginx, port: 80}}")
    assert set(content["services"]) >= {"postgres", "minio", "vllm", "code", "webserver", "daemon", "nginx"}
    for name, service in content["services"].items():
        assert set(service.get("depends_on", [])) <= set(content["services"]), name
        volumes = [mount.partition(":")[0] for mount in service.get("volumes", [])]
        assert all(volume in content["volumes"] or (DEPLOY / volume).exists() for volume in volumes), name
        ports = service.get("ports", [])
        assert all(port.startswith("127.0.0.1:") for port in ports), f"{name} would listen on every interface"
    # No secret has a default, and all that the instance reads is given.
    text = COMPOSE.read_text()
    assert {variable for variable in re.findall(r"\$\{(\w+):\?", text)} == {
        "WEBINSTRUCT_POSTGRES_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
    }
    wanted = set(re.findall(r"env: (\w+)", (DEPLOY / "dagster.yaml").read_text()))
    assert wanted <= set(content["services"]["code"]["environment"])
    for source in re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE):
        assert all((PROJECT_ROOT / path).exists() for path in source.split()), source


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_kubernetes_manifests() -> None:
    """As `kubectl apply -k` would send them, by the API's own schemas, strictly."""
    import kubernetes_validate

    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes")]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    objects = list(yaml.safe_load_all(rendered))
    kinds = [f"{item['kind']}/{item['metadata']['name']}" for item in objects]
    assert {"StatefulSet/code", "Deployment/daemon", "StatefulSet/vllm", "RayCluster/ray"} <= set(kinds)
    for item in objects:
        if item["kind"] != "RayCluster":
            kubernetes_validate.validate(item, KUBERNETES, strict=True)
            continue
        # KubeRay's own kind: its pods are what a schema is at hand for.
        groups = [item["spec"]["headGroupSpec"], *item["spec"]["workerGroupSpecs"]]
        assert all(isinstance(value, str) for group in groups for value in group["rayStartParams"].values())
        for group in groups:
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": group["template"]["spec"]}
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    services = {item["metadata"]["name"]: item["spec"]["selector"] for item in objects if item["kind"] == "Service"}
    labels = [item["spec"]["template"]["metadata"]["labels"] for item in objects if "template" in item.get("spec", {})]
    assert all(selector in labels for selector in services.values())
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {**objects[-1], "kind": "Deployment", "apiVersion": "apps/v1"}, KUBERNETES, strict=True
        )


def test_cluster_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that the containers name loads, and its parts are the ones that deploy/ starts."""
    home = make_home(tmp_path / "home")
    monkeypatch.setenv("WEBINSTRUCT_ENV", "cluster")
    from webinstruct_assets.core.workspace import Workspace

    ws = Workspace.open(home)
    services = set(yaml.safe_load(COMPOSE.read_text())["services"])
    urls = [str(ws.config.s3.endpoint), *(ws.model_spec("qwen-72b").base_url or "").split()]
    assert {re.sub(r"https?://([^:/]+).*", r"\1", url) for url in urls} <= services
    address = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    assert address["host"] in services and str(address["port"]) in " ".join(
        yaml.safe_load(COMPOSE.read_text())["services"]["code"]["command"]
    )


@contextmanager
def postgres(folder: Path) -> Iterator[dict[str, str]]:
    """A PostgreSQL of its own (which does not run as root); yields the environment that deploy/dagster.yaml reads."""
    assert POSTGRES
    binaries = Path(POSTGRES).resolve().parent
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder.mkdir()
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        for parent in list(folder.parents)[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
    as_user = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
    secret = folder.parent / "pg-password"
    secret.write_text("s3cret-pg")
    secret.chmod(0o644)
    subprocess.run(
        [*as_user, str(binaries / "initdb"), "-D", str(folder / "db"), "-U", "webinstruct", "--pwfile", str(secret),
         "--auth", "scram-sha-256", "--no-sync"],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    command = [*as_user, str(binaries / "postgres"), "-D", str(folder / "db"), "-p", str(port), "-k", str(folder),
               "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]  # fmt: skip
    with process(command, folder.parent / "postgres.log"):
        wait_for(port, 30)
        environment = {
            "WEBINSTRUCT_POSTGRES_HOST": "127.0.0.1", "WEBINSTRUCT_POSTGRES_USER": "webinstruct",
            "WEBINSTRUCT_POSTGRES_PASSWORD": "s3cret-pg", "WEBINSTRUCT_POSTGRES_DB": "postgres",  # pragma: allowlist secret
        }  # fmt: skip
        yield {**environment, "PORT": str(port), "PGPASSWORD": "s3cret-pg"}


def cluster_home(folder: Path, port: str) -> Path:
    """A project root whose instance is deploy/dagster.yaml on another port."""
    home = make_home(folder)
    (home / "dagster.yaml").unlink()
    settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    settings["storage"]["postgres"]["postgres_db"]["port"] = int(port)
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return home


@pytest.mark.slow
@pytest.mark.skipif(POSTGRES is None, reason="no postgres")
def test_events_of_a_run_are_in_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from webinstruct_assets.stages.crawl.demo import build_demo_crawl

    with postgres(tmp_path / "pg") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        home = cluster_home(tmp_path / "home", environment["PORT"])
        build_demo_crawl(PROJECT_ROOT / "data/demo", home / "data/crawl", "local-demo")
        webinstruct(home, "run", "--snapshot", "local-demo", "--select", "crawl_index")
        query = (
            "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
            " AND asset_key = '[\"crawl_index\"]' AND partition = 'local-demo'"
        )
        command = [
            "psql",
            "-h",
            "127.0.0.1",
            "-p",
            environment["PORT"],
            "-U",
            "webinstruct",
            "-d",
            "postgres",
            "-tAc",
            query,
        ]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "1"
        read = (
            "import dagster as dg\n"
            "with dg.DagsterInstance.get() as instance:\n"
            "    event = instance.get_latest_materialization_event(dg.AssetKey('crawl_index'))\n"
            "    print(type(instance.event_log_storage).__name__, event.asset_materialization.metadata['rows'].value)\n"
        )
        child = subprocess.run(
            [sys.executable, "-c", read], check=True, capture_output=True, text=True, env={**os.environ, "DAGSTER_HOME": str(home)}
        )  # fmt: skip
        kind, rows = child.stdout.split()[-2:]
        assert kind == "PostgresEventLogStorage" and int(rows) > 0
        assert not (home / "data/.dagster").exists()
        for path in home.rglob("*.json"):
            assert "s3cret-pg" not in path.read_text(errors="ignore")


class Front:
    """nginx before two webservers."""

    def __init__(self, port: int):
        self.port = port

    def ask(self, method: str, path: str, user: str | None = None, body: Any = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Host": "dagster.example.org", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if user:
            sent["Authorization"] = "Basic " + base64.b64encode(f"{user}:{user}-pw".encode()).decode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection.request(method, path, json.dumps(body) if body is not None else None, sent)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text

    def query(self, user: str, query: str, **headers: str) -> Any:
        status, text = self.ask("POST", "/graphql", user, {"query": query}, **headers)
        assert status == 200, text
        return json.loads(text)["data"]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    home = make_home(folder / "home")
    full, viewer, port = free_port(), free_port(), free_port()
    passwords = [
        f"{user}:" + subprocess.run(["openssl", "passwd", "-apr1", f"{user}-pw"], check=True, capture_output=True, text=True).stdout
        for user in ("operator", "ada")
    ]  # fmt: skip
    (folder / "passwords").write_text("".join(passwords))
    names = {
        "LISTEN": f"127.0.0.1:{port}", "HOST": "dagster.example.org", "FULL": f"127.0.0.1:{full}",
        "VIEWER": f"127.0.0.1:{viewer}", "OPERATOR": "operator", "PASSWORDS": str(folder / "passwords"),
    }  # fmt: skip
    site = re.sub(r"\$\{(\w+)\}", lambda match: names[match[1]], (DEPLOY / "nginx.conf.template").read_text())
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(
        f"user root;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;"
        f" uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; include {folder}/site.conf; }}\n"
    )
    environment = {"WEBINSTRUCT_HOME": str(home), "DAGSTER_HOME": str(home)}
    server = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-w", str(home / "workspace.yaml")]
    old = Path.cwd()
    os.chdir(home)  # the instance's paths are relative
    try:
        with (
            process([*server, "-p", str(full)], folder / "full.log", **environment),
            process([str(NGINX), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"], folder / "nginx.log"),
        ):
            wait_for(full, 120)  # the first makes the store
            with process([*server, "-p", str(viewer), "--read-only"], folder / "viewer.log", **environment):
                wait_for(viewer, 120)
                wait_for(port, 30)
                yield Front(port)
    finally:
        os.chdir(old)


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="no nginx")
def test_nginx_lets_in_who_may(front: Front) -> None:
    version, reload = "{ version }", "mutation { reloadWorkspace { __typename } }"
    assert front.ask("GET", "/")[0] == 401
    assert front.ask("POST", "/graphql", body={"query": version})[0] == 401
    assert front.ask("GET", "/", "ada")[0] == 200
    assert front.query("ada", version)["version"]
    # Acting: the operator only.
    assert front.query("operator", reload)["reloadWorkspace"]["__typename"] == "Workspace"
    assert front.query("ada", reload)["reloadWorkspace"]["__typename"] == "UnauthorizedError"
    launch = (
        'mutation { launchRun(executionParams: {mode: "default", selector: {repositoryName: "__repository__",'
        ' repositoryLocationName: "webinstruct", jobName: "mine_snapshot"}}) { __typename } }'
    )
    assert front.query("ada", launch)["launchRun"]["__typename"] == "UnauthorizedError"
    # Queries by links, from foreign pages, by forms, and under other names.
    assert front.ask("GET", "/graphql?query={version}", "operator")[0] == 405
    assert front.ask("POST", "/graphql", "operator", {"query": reload}, Content_Type="text/plain")[0] == 415
    assert front.ask("POST", "/graphql", "operator", {"query": reload}, Origin="https://evil.example")[0] == 403
    assert front.ask("GET", "/", "operator", Origin="null")[0] == 403
    assert front.query("operator", version, Origin="https://dagster.example.org")["version"]
    assert front.ask("GET", "/", "operator", Host="evil.example")[0] == 421
    assert front.ask("DELETE", "/", "operator")[0] == 403
    # The page's live updates: a WebSocket, which browsers open from any page, with the reader's password.
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Protocol": "graphql-ws",
    }  # fmt: skip
    assert front.ask("GET", "/graphql", "ada", Origin="https://evil.example", **upgrade)[0] == 403
    assert front.ask("GET", "/graphql", **upgrade)[0] == 401
    # No way around the rule on GET: what asks for an upgrade and is no handshake, other spellings of the path.
    query = f"query={quote(reload)}"
    for path in (
        f"/graphql?{query}",
        f"//graphql?{query}",
        f"/%67raphql?{query}",
        f"/graphql/?{query}",
        f"/./graphql?{query}",
    ):
        for headers in ({}, {"Upgrade": "websocket"}, {"Upgrade": "h2c", "Connection": "Upgrade"}):
            status, text = front.ask("GET", path, "operator", **headers)
            assert status >= 400 or ("Workspace" not in text and "<!doctype html>" in text.lower()), (
                path,
                headers,
                status,
            )
    assert front.ask("POST", "/report_asset_materialization/crawl_index", "operator", {})[0] == 403


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="no nginx")
def test_live_updates_go_through_nginx_and_change_nothing(front: Front) -> None:
    """A WebSocket opened and spoken as the page does: it carries subscriptions, for whoever may look, and no mutation."""
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect
    from websockets.typing import Origin, Subprotocol

    def opened(user: str, origin: str) -> Any:
        login = "Basic " + base64.b64encode(f"{user}:{user}-pw".encode()).decode()
        return connect(
            f"ws://dagster.example.org:{front.port}/graphql", sock=socket.create_connection(("127.0.0.1", front.port)),
            origin=Origin(origin), additional_headers={"Authorization": login}, subprotocols=[Subprotocol("graphql-ws")],
        )  # fmt: skip

    with pytest.raises(InvalidStatus, match="403"):
        opened("operator", "https://evil.example")
    subscription = 'subscription { pipelineRunLogs(runId: "00000000-0000-0000-0000-000000000000") { __typename } }'
    mutation = "mutation { reloadWorkspace { __typename } }"
    for user in ("ada", "operator"):
        with opened(user, "https://dagster.example.org") as page:
            page.send(json.dumps({"type": "connection_init", "payload": {}}))
            assert json.loads(page.recv(30)) == {"type": "connection_ack"}
            page.send(json.dumps({"id": "1", "type": "start", "payload": {"query": mutation}}))
            answer = json.loads(page.recv(30))
            assert answer["type"] == "error" and "data" not in answer["payload"], answer
            page.send(json.dumps({"id": "2", "type": "start", "payload": {"query": subscription}}))
            heard = json.loads(page.recv(30))
            assert heard["payload"]["data"]["pipelineRunLogs"]["__typename"] == "PipelineRunLogsSubscriptionFailure"
