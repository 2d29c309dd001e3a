"""Runs one Python program that nobody has read, in a process of its own, and says how it ended.

In: the text of a program that raises where it is wrong. Out: an ``Outcome``. Two modes, the first one where
``bwrap`` is installed and allowed to make name spaces, else the second:

Both modes (``inside``: system call filter, Landlock, resource limits; Linux on x86-64 or arm64):
  * one process: no other can be made, no file executed, no signal sent, none traced; it ends after ``seconds``;
  * no network: no socket can be opened;
  * memory up to ``MEMORY`` bytes, threads included; output up to ``OUTPUT`` bytes, then it is ended;
  * no byte can be written to a file and nothing created, renamed or removed, wherever it is;
  * an empty environment; the interpreter's and system libraries' files can be read, others cannot; no capabilities.
``bubblewrap`` adds a second fence of another kind: own mount, process, network, user and IPC name spaces, in which other
files and processes do not exist. There Landlock is a bonus; ``plain`` refuses to run anything where the kernel has none
(before Linux 5.13, or switched off), or no seccomp.

Neither mode protects against: faults of the kernel's own code; a program that keeps one core busy until its time is up;
reading what lies in /usr and in the Python environment; and a program that means to cheat the test, for it runs
in the same interpreter (it may look for the token that reports success). Where models may be hostile and not only wrong,
run the whole evaluation on a machine that can be thrown away.
"""

import functools
import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.foreign_json import read_json

SECONDS = 10.0
MEMORY = 1 << 30
OUTPUT = 1 << 16
INSIDE = Path(__file__).with_name("inside.py")
SYSTEM = ("/usr", "/lib", "/lib64", "/bin")
READABLE = (*SYSTEM, "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom", "/dev/zero")


@dataclass(frozen=True)
class Outcome:
    """``status``: passed, wrong_answer (a failed assertion), syntax_error, exception, memory, exited (before its end).

    Or, where the process was ended from outside: timeout, output_limit, crashed (by a signal); ``refused`` where this
    machine lacks a fence. ``detail``: the message.
    """

    status: str
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the program ran to its end."""
        return self.status == "passed"


@functools.cache
def sandbox_mode() -> str:
    """``bubblewrap`` where it works here, else ``plain``. Raises ConfigError where neither does."""
    if shutil.which("bwrap") and run_program("pass", mode="bubblewrap").passed:
        return "bubblewrap"
    outcome = run_program("pass", mode="plain")
    if not outcome.passed:
        raise ConfigError(
            f"programs of models cannot be run safely here: {outcome.status}: {outcome.detail}",
            "install bubblewrap (apt-get install bubblewrap) on Linux, or leave code benchmarks out of the environment",
        )
    return "plain"


def run_program(program: str, *, mode: str | None = None, seconds: float = SECONDS, memory: int = MEMORY) -> Outcome:
    """Runs ``program`` to its end or a limit. It passes when nothing is raised and nothing ends it before."""
    mode = mode or sandbox_mode()
    folders = [*dict.fromkeys((sys.prefix, sys.base_prefix))]
    token = secrets.token_hex(16)
    work = json.dumps(
        {
            "program": program, "token": token, "paths": [*READABLE, *folders], "memory": memory, "seconds": seconds,
            "site": sysconfig.get_path("purelib"), "landlock": mode == "plain" or _has_landlock(),
        }
    )  # fmt: skip
    report, result = os.pipe()
    command = [sys.executable, "-I", "-S", "-B", "-c", f"{INSIDE.read_text()}\nmain({result})"]
    if mode == "bubblewrap":
        command = [*_fence(folders), *command]
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(result,),
        env=environment, cwd="/", start_new_session=True,
    )  # fmt: skip
    os.close(result)
    assert process.stdin is not None and process.stdout is not None
    try:
        try:
            process.stdin.write(work.encode("utf-8", "surrogatepass") + b"\n")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before it read; how stands below
        said, printed, ended = _listen(report, process.stdout.fileno(), seconds)
    finally:
        # A process that has ended keeps its number until it is waited for, so this can only be ours.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        os.close(report)
    return ended or _outcome(said, token, printed, process.returncode)


def _listen(report: int, output: int, seconds: float) -> tuple[bytes, bytes, Outcome | None]:
    """What was reported and printed until both ends were closed; an Outcome when a limit was passed first."""
    texts = {report: b"", output: b""}
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for stream in texts:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                return texts[report], texts[output], Outcome("timeout", f"after {seconds:g} s")
            for ready, _ in selector.select(left):
                chunk = os.read(ready.fd, 1 << 16)
                texts[ready.fd] += chunk
                if not chunk:
                    selector.unregister(ready.fd)
            if max(map(len, texts.values())) > OUTPUT:
                return texts[report], texts[output], Outcome("output_limit", f"more than {OUTPUT} bytes")
    return texts[report], texts[output], None


def _outcome(said: bytes, token: str, printed: bytes, code: int) -> Outcome:
    try:
        report = read_json(said)
    except ValueError:
        report = {}
    if isinstance(report, dict) and report.get("token") == token:
        return Outcome(report["status"], report["detail"])
    if code == 0:
        return Outcome("exited")
    # bubblewrap reports a child's signal as a shell does.
    number = -code if code < 0 else code - 128
    last = printed.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
    if number == signal.SIGXCPU:
        return Outcome("timeout", "CPU time")
    return Outcome("crashed", signal.Signals(number).name if number in {*signal.Signals} else last)


def _fence(folders: list[str]) -> list[str]:
    """The command line of bubblewrap: a file tree of system libraries and ``folders``, read-only, and nothing else."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--dev", "/dev", "--remount-ro", "/dev"]
    for path in SYSTEM:
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            command += ["--ro-bind", path, path]
    for path in (*folders, "/etc/ld.so.cache"):
        command += ["--ro-bind-try", path, path]
    return [*command, "--remount-ro", "/", "--chdir", "/", "--"]


@functools.cache
def _has_landlock() -> bool:
    import ctypes

    return sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1
