"""deploy/: its files by schema, and the processes that they start, natively: PostgreSQL, webservers, nginx."""

import base64
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import pytest
import yaml

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.graph import BY_ASSET
from webinstruct_assets_tests import answers
from webinstruct_assets_tests.conftest import make_home, webinstruct
from webinstruct_assets_tests.s3 import KEYS as S3_KEYS
from webinstruct_assets_tests.s3 import free_port, process, wait_for
from webinstruct_assets_tests.services import Stack
from webinstruct_assets_tests.services import wait_for as wait_until

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


def _volumes(mounts: list[str]) -> set[str]:
    """Folders below data/ that outlive a container."""
    home = "/srv/webinstruct/data/"
    return {mount.removeprefix(home) for mount in mounts if mount.startswith(home)}


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The objects that `kubectl apply -k` would send, with secrets made as deploy/README.md says."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl")
    folder = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(DEPLOY / "kubernetes", folder)
    [template] = re.findall(r"printf '(AWS_ACCESS_KEY_ID.*?)'", (DEPLOY / "README.md").read_text())
    (folder / "secrets.env").write_text(template.replace("\\n", "\n").replace("%s", "00ff"))
    rendered = subprocess.run(["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(rendered))


def test_kubernetes_manifests(kubernetes: list[Any]) -> None:
    """By the API's own schemas, strictly."""
    import kubernetes_validate

    objects = kubernetes
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


def test_kubernetes_starts_what_compose_starts(kubernetes: list[Any]) -> None:
    """The same processes, on the same ports, with the same folders kept, on Ray; and every variable is given."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    by_name = {(item["kind"], item["metadata"]["name"]): item for item in kubernetes}
    for kind, name in [("StatefulSet", "code"), ("Deployment", "webserver"), ("Deployment", "viewer"), ("Deployment", "daemon")]:  # fmt: skip
        [container] = by_name[kind, name]["spec"]["template"]["spec"]["containers"]
        assert " ".join(container["args"]).endswith(" ".join(services[name]["command"])), name
        assert "command" not in container, "the image's entry point hands signals on"
        for port in container.get("ports", []):
            assert by_name["Service", name]["spec"]["ports"] == [{"port": port["containerPort"]}]
            assert str(port["containerPort"]) in services[name]["command"]
    code = by_name["StatefulSet", "code"]["spec"]["template"]["spec"]["containers"][0]
    kept = _volumes([mount["mountPath"] for mount in code["volumeMounts"]])
    assert kept == _volumes([mount.partition(":")[2] for mount in services["code"]["volumes"]])
    [made] = re.findall(r"mkdir -p (.*) \\", (DEPLOY / "Dockerfile").read_text())
    assert kept == {folder.removeprefix("data/") for folder in made.split()}
    # Ray: the head by the name and port that KubeRay gives its Service, and a token for all of its parts.
    ray = by_name["RayCluster", "ray"]
    assert f"--address={ray['metadata']['name']}-head-svc:6379" in code["args"][-1]
    groups = [ray["spec"]["headGroupSpec"], *ray["spec"]["workerGroupSpecs"]]
    parts = [group["template"]["spec"]["containers"][0] for group in groups]
    assert all(part["envFrom"] == code["envFrom"] for part in [*parts, ray["spec"]["autoscalerOptions"]])
    assert {part["image"] for part in parts} == {code["image"]}
    given = {*by_name["ConfigMap", "webinstruct"]["data"], *by_name["Secret", "webinstruct"]["data"]}
    assert given >= set(re.findall(r"env: (\w+)", (DEPLOY / "dagster.yaml").read_text())) | {"RAY_AUTH_TOKEN", *S3_KEYS}
    assert by_name["ConfigMap", "webinstruct"]["data"]["WEBINSTRUCT_ENV"] == "kubernetes"


@pytest.mark.parametrize(("environment", "engine"), [("cluster", "processes"), ("kubernetes", "ray")])
def test_environments(environment: str, engine: str, kubernetes: list[Any]) -> None:
    """What the containers name loads, and its parts are the ones that deploy/ starts."""
    ws = Workspace.open(PROJECT_ROOT, environment)
    assert ws.config.engine.kind == engine
    # Where they are, by name and port: each is a service here and there.
    urls = [str(ws.config.s3.endpoint)]
    for name in ws.config.models:
        spec = ws.model_spec(name)
        urls += [spec.base_url, *spec.replicas] if spec.base_url else []
    grpc = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    wanted = {(grpc["host"], grpc["port"]), *((urlsplit(url).hostname, urlsplit(url).port) for url in urls)}
    ports = {
        (item["metadata"]["name"], port["port"])
        for item in kubernetes
        if item["kind"] == "Service"
        for port in item["spec"]["ports"]
    }
    assert wanted <= ports and {host for host, _ in wanted} <= set(yaml.safe_load(COMPOSE.read_text())["services"])


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """A PostgreSQL of its own (which does not run as root); yields the environment that deploy/dagster.yaml reads."""
    assert POSTGRES
    binaries, as_root = Path(POSTGRES).resolve().parent, os.geteuid() == 0
    as_user = ["runuser", "-u", "postgres", "--"] if as_root else []
    # Not below pytest's folder, into which only its owner may look.
    with tempfile.TemporaryDirectory(prefix="webinstruct-postgres-") as name:
        folder = Path(name)
        secret = folder / "password"
        secret.write_text("s3cret-pg")
        if as_root:
            for path in (folder, secret):
                shutil.chown(path, "postgres")
        subprocess.run(
            [*as_user, str(binaries / "initdb"), "-D", str(folder / "db"), "-U", "webinstruct", "--pwfile", str(secret),
             "--auth", "scram-sha-256", "--no-sync"],
            check=True, capture_output=True,
        )  # fmt: skip
        port = free_port()
        command = [*as_user, str(binaries / "postgres"), "-D", str(folder / "db"), "-p", str(port), "-k", str(folder),
                   "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]  # fmt: skip
        with process(command, folder / "log"):
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

    with postgres() as environment:
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


class Deployment(Stack):
    """Code location, webserver and daemon by compose's command lines; what is a container there is a process tree here."""

    def __init__(self, home: Path):
        super().__init__(home)
        self.code_port = free_port()
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        workspace = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())
        workspace["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": self.code_port}
        (home / "workspace.yaml").unlink()
        (home / "workspace.yaml").write_text(yaml.safe_dump(workspace))

    def start(self) -> "Deployment":
        for service in ("code", "webserver", "daemon"):
            self.begin(service)
        wait_until("the code location", 180, self.loaded)
        return self

    def begin(self, service: str) -> None:
        ports = {"0.0.0.0": "127.0.0.1", "4000": str(self.code_port), "3000": str(self.port)}
        program, *arguments = yaml.safe_load(COMPOSE.read_text())["services"][service]["command"]
        command = [str(Path(sys.executable).parent / program), *(ports.get(part, part) for part in arguments)]
        with (self.home / f"{service}.log").open("ab") as log:
            self.children[service] = self.process = subprocess.Popen(
                command, cwd=self.home, stdout=log, stderr=log,
                env={**os.environ, "WEBINSTRUCT_HOME": str(self.home), "DAGSTER_HOME": str(self.home)},
            )  # fmt: skip
        if service == "code":
            wait_for(self.code_port, 120)

    def workers(self) -> list[psutil.Process]:
        """Processes of runs."""
        children = psutil.Process(self.children["code"].pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def kill(self, service: str) -> None:
        """As the end of its container does."""
        tree = psutil.Process(self.children[service].pid)
        for victim in [*tree.children(recursive=True), tree]:
            victim.kill()
        self.children[service].wait()

    def stop(self) -> None:
        for service in self.children:
            self.kill(service)

    def at_work(self) -> list[str]:
        return [run["id"] for run in self.runs() if run["status"] in ("STARTING", "STARTED", "CANCELING")]

    def holders(self) -> list[str]:
        """Runs with places in pools."""
        return [slot["runId"] for slot in self.slots()]


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.skipif(POSTGRES is None, reason="no postgres")
def test_no_run_is_at_work_for_ever_and_no_place_in_a_pool_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 of a run's process, of the code location with its run, and of `webinstruct run`, on Postgres."""
    from webinstruct_assets.stages.crawl.demo import build_demo_crawl

    with postgres() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        home = cluster_home(tmp_path / "home", environment["PORT"])
        build_demo_crawl(PROJECT_ROOT / "data/demo", home / "data/crawl", "local-demo")
        # An endpoint that never answers keeps a run at work, with its place in the pool `gpu`.
        silent = socket.create_server(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        answers.configure(home, port)
        webinstruct(home, "run", "--snapshot", "local-demo", "--to", "round1_recall")
        with Deployment(home) as deployment:

            def only_holder(killed: str) -> str:
                """The run that was tried again in place of the killed one, once it alone holds the place."""
                wait_until("the killed run's end", 180, lambda: deployment.status(killed) == "FAILURE")
                [run] = wait_until(
                    "its successor", 240, lambda: (found := deployment.holders()) == deployment.at_work() and found
                )
                assert run != killed
                return str(run)

            first = deployment.launch(["round1_domains"], "local-demo")
            wait_until("the first run", 180, lambda: deployment.holders() == [first] and deployment.workers())
            [worker] = deployment.workers()
            worker.kill()
            second = only_holder(first)
            # The container of the code location, with the run in it.
            wait_until("the second run's process", 60, deployment.workers)
            deployment.kill("code")
            assert deployment.status(second) == "STARTED"
            deployment.begin("code")
            third = only_holder(second)
            # A run that waits for the pool, in a process that nobody watches.
            command = [sys.executable, "-m", "webinstruct_assets.cli", "run", "--snapshot", "local-demo", "--select", "round1_domains"]  # fmt: skip
            with process(command, tmp_path / "run.log", WEBINSTRUCT_HOME=str(home)) as by_hand:
                wait_until("the fourth run", 120, lambda: len(deployment.at_work()) == 2)
                [fourth] = set(deployment.at_work()) - {third}
                by_hand.kill()
                by_hand.wait()
                wait_until("its end", 180, lambda: deployment.status(fourth) == "FAILURE")
            assert deployment.at_work() == [third]
            # Once the model answers, the last try finishes.
            silent.close()
            with answers.serving(home, tmp_path / "asked", port):
                wait_until("the end of all", 600, lambda: not deployment.at_work() and not deployment.holders())
            assert deployment.status(third) == "SUCCESS"
            ref = BY_ASSET["round1_domains"].ref(PartitionKey.of({"snapshot": "local-demo"}))
            assert Workspace.open(home).lake.require(ref, "test").rows


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
        "VIEWER": f"127.0.0.1:{viewer}", "RESOLVER": "127.0.0.1", "OPERATOR": "operator", "PASSWORDS": str(folder / "passwords"),
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
            wait_for(full, 300)  # the first makes the store
            with process([*server, "-p", str(viewer), "--read-only"], folder / "viewer.log", **environment):
                wait_for(viewer, 200)
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
