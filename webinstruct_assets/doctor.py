"""``webinstruct doctor``: whether this machine and what the environment names can do the work, and what to fix.

Each check asks the real thing: writes and deletes a file or an object, connects, lists. It starts no server and changes
nothing. ``broken``: something that the environment asks for cannot work. ``warning``: it works, or may, but look at it.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.workspace import Workspace

GIB = 1 << 30
PACKAGE = "webinstruct-assets"
SKEW_WARNING, SKEW_BROKEN = 5.0, 30.0  # seconds between clocks; leases on partitions last 60 s
SECONDS = 10.0  # that a server has to answer
PORTS = {3000: "webinstruct ui", 3001: "webinstruct review", 3010: "webinstruct report"}


@dataclass(frozen=True)
class Finding:
    """What a check found; ``fix`` says what to do, empty where nothing is to be done."""

    check: str
    level: Literal["ok", "warning", "broken"]
    what: str
    fix: str = ""


Findings = Iterator[Finding]


def examine(root: Path | None = None, environment: str | None = None) -> list[Finding]:
    """All findings. A configuration that cannot be read is one, and leaves out what depends on it."""
    found = [*_python(), *_packages()]
    try:
        ws = Workspace.open(root, environment)
    except WebInstructError as error:
        return [*found, Finding("configuration", "broken", error.problem, error.fix)]
    found.append(Finding("configuration", "ok", f"environment {ws.config.environment} in {ws.root}"))
    checks: list[Callable[[Workspace], Findings]] = [
        _memory, _disk, _extras, _gpus, _endpoints, _crawl, _s3, _instance, _ray, _ports,
    ]  # fmt: skip
    for check in checks:
        try:
            found += check(ws)
        except WebInstructError as error:
            found.append(Finding(check.__name__.strip("_"), "broken", error.problem, error.fix))
    return found


def describe(findings: list[Finding]) -> str:
    """For the terminal."""
    lines = []
    for item in findings:
        lines.append(f"{item.level:<8} {item.check:<14} {item.what}")
        if item.fix and item.level != "ok":
            lines.append(f"{'':<23} fix: {item.fix}")
    broken = sum(item.level == "broken" for item in findings)
    warnings = sum(item.level == "warning" for item in findings)
    return "\n".join([*lines, f"\n{broken} broken, {warnings} warnings"])


# -- this machine ----------------------------------------------------------------------------------------


def _python() -> Findings:
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == (3, 11):
        yield Finding("python", "ok", f"{running}, {sys.executable}")
    else:
        yield Finding("python", "broken", f"{running}; the pinned packages are for 3.11", "make PYTHON=python3.11")


def _packages() -> Findings:
    from packaging.requirements import Requirement

    wrong = []
    try:
        wanted = [Requirement(line) for line in requires(PACKAGE) or []]
    except PackageNotFoundError:
        yield Finding("packages", "broken", f"{PACKAGE} is not installed in {sys.prefix}", "make install")
        return
    wanted = [item for item in wanted if not item.marker or item.marker.evaluate({"extra": ""})]
    for item in wanted:
        try:
            installed = version(item.name)
        except PackageNotFoundError:
            wrong.append(f"{item.name} is missing")
            continue
        if not item.specifier.contains(installed, prereleases=True):
            wrong.append(f"{item.name} {installed} is not {item.specifier}")
    if wrong:
        yield Finding("packages", "broken", "; ".join(wrong), "make install (exactly what requirements/*.lock pin)")
    else:
        yield Finding("packages", "ok", f"{len(wanted)} packages as declared")


def _memory(ws: Workspace) -> Findings:
    fields = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
    total, free = (int(fields[name]) << 10 for name in ("MemTotal", "MemAvailable"))
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
        free = min(free, total)
    what = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free < 2 * GIB:
        yield Finding("memory", "broken", what, "2 GiB are the least that a stage needs: stop something, or add memory")
    elif total < 22 * GIB and _served_here(ws):
        yield Finding(
            "memory", "warning", what, "a model served here wants 24 GiB in all; VLLM_CPU_KVCACHE_SPACE sets its cache"
        )
    else:
        yield Finding("memory", "ok", what)


def _disk(ws: Workspace) -> Findings:
    config = ws.config
    lake = config.lake_cache if config.lake.startswith("s3://") else Path(config.lake)
    folders = {
        "lake": ws.path(lake), "answers": ws.path(Path("data/llm")), "models": ws.path(config.models_dir),
        "scratch": Path(tempfile.gettempdir()),
    }  # fmt: skip
    for name, folder in folders.items():
        there = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            with tempfile.NamedTemporaryFile(dir=there, prefix=".doctor-") as stream:
                stream.write(b"x" * 4096)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            yield Finding(
                "disk", "broken", f"{name}: {folder} cannot be written: {error.strerror}", "correct its owner or mount"
            )
            continue
        free = shutil.disk_usage(there).free
        what = f"{name}: {folder}, {free / GIB:.1f} GiB free"
        level: Literal["ok", "warning", "broken"] = "broken" if free < GIB else "warning" if free < 10 * GIB else "ok"
        yield Finding("disk", level, what, "free or add space; finished partitions stay whatever happens")


def _served_here(ws: Workspace) -> list[str]:
    return [name for name, model in ws.config.models.items() if not model.base_url]


def _extras(ws: Workspace) -> Findings:
    wanted = []
    if _served_here(ws):
        wanted += [("vllm", "llm-cpu or llm-gpu", f"serving {', '.join(_served_here(ws))} here")]
    if ws.config.engine.kind == "ray":
        wanted += [("ray", "ray", "engine ray")]
    if ws.config.recipes:
        wanted += [("trl", "llm-cpu or llm-gpu", f"training {', '.join(ws.config.recipes)}")]
    for module, extra, purpose in wanted:
        if find_spec(module):
            yield Finding("extras", "ok", f"{module}, for {purpose}")
        else:
            fix = f"pip install '{PACKAGE}[{extra}]' from its lock, or give the models a `base_url`"
            yield Finding("extras", "broken", f"{module} is missing, for {purpose}", fix)


def _gpus(ws: Workspace) -> Findings:
    command = shutil.which("nvidia-smi")
    answer = subprocess.run([command, "-L"], capture_output=True, text=True, check=False) if command else None
    here = len(answer.stdout.splitlines()) if answer and answer.returncode == 0 else 0
    if answer and answer.returncode:
        yield Finding(
            "gpu",
            "broken",
            f"nvidia-smi: {answer.stdout.strip()[:200]}",
            "load the driver: nvidia-smi has to list the GPUs",
        )
    wanted = {name: _parallel(ws.config.models[name].vllm_args) for name in _served_here(ws)}
    lacking = [f"{name} wants {count}" for name, count in wanted.items() if count > max(here, 1)]
    if lacking:
        fix = "lower --tensor-parallel-size in `vllm_args`, or give the model a `base_url`"
        yield Finding("gpu", "broken", f"{here} GPUs here, {', '.join(lacking)}", fix)
    elif not here and any(ws.config.models[name].source.startswith("hub:") for name in wanted):
        yield Finding("gpu", "warning", "no GPU: models are served and trained on the CPU", "give them a `base_url`")
    else:
        yield Finding("gpu", "ok", f"{here} GPUs")


def _parallel(arguments: list[str]) -> int:
    text = " ".join(arguments)
    match = re.search(r"(?:--tensor-parallel-size|-tp)[ =](\d+)", text)
    return int(match[1]) if match else 1


def _ports(ws: Workspace) -> Findings:
    for port, user in PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                yield Finding(
                    "ports", "warning", f"{port} ({user}): {error.strerror}", f"{user} --port N takes another"
                )
            else:
                yield Finding("ports", "ok", f"{port} is free ({user})")


# -- what the environment names --------------------------------------------------------------------------


def _endpoints(ws: Workspace) -> Findings:
    import httpx

    for name, model in ws.config.models.items():
        spec = ws.model_spec(name)
        if not spec.base_url:
            continue
        key = os.environ.get(model.api_key_env or "")
        if model.api_key_env and not key:
            yield Finding(
                "endpoints", "broken", f"{name}: {model.api_key_env} is not set", "put its key into that variable"
            )
            continue
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        urls, answering = (spec.base_url, *spec.replicas), 0
        served = spec.served_name or name
        for url in urls:
            try:
                answer = httpx.get(f"{url.rstrip('/')}/models", headers=headers, timeout=SECONDS)
                listed = [item["id"] for item in answer.raise_for_status().json()["data"]]
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                problem = f"{name}: {url}/models: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
                yield Finding("endpoints", "warning", problem, "start that server, or take it out of `base_url`")
                continue
            if served not in listed:
                problem = f"{name}: {url} serves {', '.join(listed)}, not {served}"
                yield Finding("endpoints", "broken", problem, "correct `served_name` or `base_url`")
                continue
            answering += 1
            yield Finding("endpoints", "ok", f"{name}: {url} serves {served}")
            yield from _clock(url, answer.headers.get("date"))
        if not answering:
            yield Finding("endpoints", "broken", f"{name}: none of {len(urls)} endpoints can be used", "see above")


def _clock(who: str, date: str | datetime | None) -> Findings:
    """A server's time beside ours; HTTP dates are whole seconds."""
    if date is None:
        return
    theirs = parsedate_to_datetime(date) if isinstance(date, str) else date
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    what = f"{skew:.0f} s from the clock of {who}"
    if skew > SKEW_WARNING:
        level: Literal["warning", "broken"] = "broken" if skew > SKEW_BROKEN else "warning"
        yield Finding(
            "clocks", level, what, "synchronize clocks (chrony, systemd-timesyncd): leases and logins depend on them"
        )
    else:
        yield Finding("clocks", "ok", what)


def _crawl(ws: Workspace) -> Findings:
    from webinstruct_assets.core.keys import plain_snapshot
    from webinstruct_assets.stages.crawl.source import CrawlSource

    once = ws.config.crawl.model_copy(update={"attempts": 1, "stall_seconds": SECONDS})
    for snapshot in ws.config.snapshots:
        root = ws.crawl_root(snapshot)
        try:
            files = CrawlSource(root, once).file_list(plain_snapshot(snapshot), "wet")
        except WebInstructError as error:
            local = snapshot.startswith("local-")
            fix = "webinstruct demo makes local-demo, webinstruct import-warc others" if local else error.fix
            yield Finding("crawl", "warning" if local else "broken", f"{snapshot}: {error.problem}", fix)
        else:
            yield Finding("crawl", "ok", f"{snapshot}: {len(files):,} WET files at {root}")


def _s3(ws: Workspace) -> Findings:
    if not ws.config.lake.startswith("s3://"):
        return
    from secrets import token_hex

    from webinstruct_assets.core.lake_s3 import Bucket, Changed

    settings = ws.config.s3.model_copy(update={"attempts": 2, "timeout": SECONDS})
    if "AWS_ACCESS_KEY_ID" not in os.environ and settings.endpoint:
        yield Finding(
            "s3", "broken", "AWS_ACCESS_KEY_ID is not set", "put the keys of the lake's server into the environment"
        )
        return
    bucket, name = Bucket(ws.config.lake, settings), f"_doctor/{token_hex(8)}"
    tag = bucket.put(name, b"1")
    try:
        found = bucket.find(name)
        assert found
        yield Finding("s3", "ok", f"{ws.config.lake} can be written, read and listed")
        yield from _clock(ws.config.lake, found.at)
        if settings.conditional_writes:
            try:
                bucket.put(name, b"2", over=None)
                bucket.put(name, b"3", over=tag)
                fix = "set `s3.conditional_writes: false` and let one machine write at a time, or use a server that has them"
                yield Finding(
                    "s3", "broken", "the server ignores If-None-Match: two machines could overwrite each other", fix
                )
            except Changed:
                bucket.put(name, b"4", over=tag)
                yield Finding("s3", "ok", "conditional writes")
    except Changed:
        yield Finding(
            "s3", "broken", "the server refuses If-Match where it holds", "set `s3.conditional_writes: false`"
        )
    finally:
        bucket.delete([name])


def _instance(ws: Workspace) -> Findings:
    import yaml

    path = ws.root / "dagster.yaml"
    if not path.exists():
        yield Finding("dagster", "broken", f"{path}: no such file", "use the checkout's, or deploy/dagster.yaml")
        return
    storage = (yaml.safe_load(path.read_text()) or {}).get("storage") or {}
    if "postgres" not in storage:
        yield Finding("dagster", "ok", f"{', '.join(storage) or 'default'} storage: of one machine")
        return
    if not find_spec("dagster_postgres"):
        yield Finding(
            "postgres", "broken", "dagster-postgres is missing", f"pip install '{PACKAGE}[cluster]' from its lock"
        )
        return
    fields = storage["postgres"].get("postgres_db") or {}
    unset = [value["env"] for value in fields.values() if isinstance(value, dict) and not os.environ.get(value["env"])]
    if unset:
        yield Finding(
            "postgres", "broken", f"not set: {', '.join(unset)}", f"put them into the environment, as {path} names them"
        )
        return
    given = {name: os.environ[value["env"]] if isinstance(value, dict) else value for name, value in fields.items()}
    yield from _postgres(given)


def _postgres(given: dict[str, Any]) -> Findings:
    import psycopg2

    place = f"{given['hostname']}:{given.get('port', 5432)}/{given['db_name']}"
    try:
        connection = psycopg2.connect(
            host=given["hostname"], port=given.get("port", 5432), dbname=given["db_name"], user=given["username"],
            password=given["password"], connect_timeout=int(SECONDS),
        )  # fmt: skip
    except psycopg2.OperationalError as error:
        problem = " ".join(str(error).split())
        yield Finding(
            "postgres", "broken", f"{place}: {problem}", "start it, or correct host, user, password or database"
        )
        return
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT version(), now()")
        row = cursor.fetchone()
    connection.close()
    assert row
    yield Finding("postgres", "ok", f"{place}: {row[0].partition(' on ')[0]}")
    yield from _clock(place, row[1])


def _ray(ws: Workspace) -> Findings:
    address = ws.config.engine.address
    if ws.config.engine.kind != "ray" or not address or not find_spec("ray"):
        return
    # In a process of its own: a connection to Ray is one for the whole process.
    program = (
        "import json, sys, ray\n"
        "from webinstruct_assets.core.engine.ray_cluster import knock\n"
        "knock(sys.argv[1])\n"
        "ray.init(address=sys.argv[1], logging_level='ERROR', log_to_driver=False)\n"
        "print(json.dumps([ray.__version__, ray.cluster_resources().get('CPU', 0), sum(n['Alive'] for n in ray.nodes())]))\n"
    )
    try:
        answer = subprocess.run(
            [sys.executable, "-c", program, address], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        yield Finding("ray", "broken", f"{address} does not answer", "see `ray status` on its head")
        return
    if answer.returncode:
        problem = answer.stderr.strip().splitlines()[-1][:300] if answer.stderr.strip() else "no answer"
        yield Finding(
            "ray", "broken", f"{address}: {problem}", "start one (`ray start --head`), or correct `engine.address`"
        )
        return
    release, cpus, nodes = json.loads(answer.stdout.strip().splitlines()[-1])
    if cpus:
        yield Finding("ray", "ok", f"{address}: Ray {release}, {nodes} nodes, {cpus:.0f} CPUs")
    else:
        yield Finding(
            "ray", "broken", f"{address}: {nodes} nodes without a CPU", "add worker nodes: no unit would ever start"
        )
