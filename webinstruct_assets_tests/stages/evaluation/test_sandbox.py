"""Programs that mean harm or never end: each fails with its reason, in both modes, and nothing outside is touched."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.stages.evaluation.sandbox import run
from webinstruct_assets.stages.evaluation.sandbox.run import INSIDE, OUTPUT, run_program, sandbox_mode

MODES = [
    pytest.param(
        "bubblewrap", marks=pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
    ),
    "plain",
]
FAST = 0.7  # seconds that a program of these tests may take


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_right_program_passes(mode: str) -> None:
    outcome = run_program("import math, numpy, threading\nassert numpy.arange(3).sum() == 3", mode=mode)
    assert outcome.passed, outcome


@pytest.mark.parametrize(("program", "status"), [
    ("assert 1 + 1 == 3, 'sum'", "wrong_answer"),
    ("1 / 0", "exception"),
    ("def (", "syntax_error"),
    ("def f(): return f()\nf()", "exception"),
    ("import sys; sys.exit(0)", "exited"),
    ("import os; os._exit(0)", "exited"),  # leaving before the tests is no success
    ("import ctypes; ctypes.string_at(0)", "crashed"),
    ("blocks = []\nwhile True: blocks.append(bytearray(10**7))", "memory"),
    ("text = 'x' * 10**10", "memory"),
    ("while True: print('x' * 1000)", "output_limit"),
    ("import os\nwhile True: os.write(2, b'x' * 1000)", "output_limit"),
    ("raise KeyboardInterrupt", "exception"),
])  # fmt: skip
def test_reason_of_a_failure(mode: str, program: str, status: str) -> None:
    outcome = run_program(program, mode=mode)
    assert (outcome.passed, outcome.status) == (False, status), outcome


@pytest.mark.parametrize("program", [
    "while True: pass",
    "import time; time.sleep(60)",
    "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
    "input()\nimport time; time.sleep(60)",
    "while True:\n  try: raise SystemExit\n  except BaseException: pass",
])  # fmt: skip
def test_endless_programs_are_ended(mode: str, program: str) -> None:
    started = time.monotonic()
    outcome = run_program(program, mode=mode, seconds=FAST)
    assert not outcome.passed and outcome.status in ("timeout", "exception")
    assert time.monotonic() - started < FAST + 5
    assert not leftovers()


OTHERS: set[psutil.Process] = set()  # servers of other tests in the same session


@pytest.fixture(autouse=True)
def _others() -> None:
    OTHERS.clear()
    OTHERS.update(psutil.Process().children(recursive=True))


def leftovers() -> list[psutil.Process]:
    """Processes that the test left below this one and that are still there a moment after."""
    own = [process for process in psutil.Process().children(recursive=True) if process not in OTHERS]
    _, alive = psutil.wait_procs(own, timeout=3)
    return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("program", [
    "import os\nwhile True: os.fork()",
    "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
    "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    "import os\nos.posix_spawn('/bin/sh', ['sh', '-c', ':'], {})",
    "import os\nos.execv('/bin/sh', ['sh', '-c', 'exit 0'])",
    "import ctypes\nassert ctypes.CDLL(None).vfork() >= 0",
])  # fmt: skip
def test_no_process_is_made(mode: str, program: str) -> None:
    outcome = run_program(program, mode=mode, seconds=FAST)
    assert not outcome.passed, outcome
    assert not leftovers()


@pytest.mark.parametrize("change", [
    "open(path, 'w').write('changed')", "open(path, 'a')", "__import__('os').remove(path)",
    "__import__('os').rename(path, path + '2')", "__import__('os').truncate(path, 0)", "__import__('os').chmod(path, 0o777)",
    "__import__('os').utime(path, (0, 0))", "__import__('os').symlink(path, path + '2')", "__import__('os').mkdir(path + '2')",
    "__import__('shutil').rmtree(path.rpartition('/')[0])", "__import__('os').link(path, path + '2')",
    "open(path).read()",
])  # fmt: skip
def test_files_outside_are_out_of_reach(mode: str, tmp_path: Path, change: str) -> None:
    file = tmp_path / "kept"
    file.write_text("kept")
    before = file.stat()
    outcome = run_program(f"path = {str(file)!r}\n{change}", mode=mode)
    assert (outcome.passed, outcome.status) == (False, "exception"), outcome
    after = file.stat()
    assert file.read_text() == "kept"
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("place", ["/tmp/x", "/dev/shm/x", "/var/tmp/x", "x", "/usr/x", sys.prefix + "/x"])
def test_nothing_can_be_written_anywhere(mode: str, place: str) -> None:
    outcome = run_program(f"open({place!r}, 'w').write('x' * 100)", mode=mode)
    assert outcome.status == "exception", outcome
    assert not Path(place).exists()


def test_files_in_memory_are_bounded_too(mode: str) -> None:
    outcome = run_program("import os\nfile = os.memfd_create('m')\nos.write(file, b'x' * 1000)", mode=mode)
    assert outcome.status == "exception", outcome


def test_no_network(mode: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        for attempt in (
            f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), timeout=1)",
            f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {server.getsockname()[1]}))",
            "socket.socket(socket.AF_UNIX).connect('/run/x')",
            "socket.getaddrinfo('example.org', 80)[0]",
        ):
            outcome = run_program(f"import socket\n{attempt}", mode=mode)
            assert (outcome.passed, outcome.status) == (False, "exception"), (attempt, outcome)
        with pytest.raises(TimeoutError):
            server.accept()


def test_no_secret_can_be_read(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "hush-hush")
    looks = (
        "import os\nassert not any('hush' in value for value in os.environ.values()), 'seen'",
        "import os\ntext = open(f'/proc/{os.getppid()}/environ').read()",
        f"text = open('/proc/{os.getpid()}/environ').read()",
        f"text = open('/proc/{os.getpid()}/mem', 'rb').read(1)",
        "text = open('/proc/self/environ').read()",
        "text = open('/etc/passwd').read()",
    )
    assert run_program(looks[0], mode=mode).passed
    for program in looks[1:]:
        assert run_program(program, mode=mode).status == "exception", program


def test_the_parent_is_unharmed(mode: str) -> None:
    for attempt in (
        f"os.kill({os.getpid()}, 9)", "os.kill(os.getppid(), 9)", "os.kill(-1, 9)", "os.killpg(os.getppid(), 9)",
        "os.setpriority(os.PRIO_PGRP, 0, 19)", f"os.sched_setaffinity({os.getpid()}, {{0}})",
        f"__import__('resource').prlimit({os.getpid()}, 7, (3, 3))",
    ):  # fmt: skip
        outcome = run_program(f"import os\n{attempt}", mode=mode)
        assert (outcome.passed, outcome.status) == (False, "exception"), (attempt, outcome)


def test_a_success_cannot_be_printed(mode: str) -> None:
    for attempt in (
        "print('{\"token\": \"\", \"status\": \"passed\", \"detail\": \"\"}')",
        "import os\nfor file in range(3, 20):\n  try: os.write(file, b'{\"token\": \"?\", \"status\": \"passed\"}')\n  except OSError: pass",
    ):  # fmt: skip
        assert not run_program(f"{attempt}\nimport os; os._exit(0)", mode=mode).passed


def test_output_below_the_limit_is_no_fault(mode: str) -> None:
    assert run_program(f"print('x' * {OUTPUT - 100})", mode=mode).passed


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_is_fenced_in_too(tmp_path: Path) -> None:
    """The file-system fence does not lean on root's rights; run with another interpreter, which that user can read."""
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("no interpreter outside of root's home")
    kept = tmp_path / "kept"
    kept.write_text("kept")
    kept.chmod(0o666)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    for program, status in (
        ("x = 1", "passed"),
        (f"open({str(kept)!r}, 'w')", "exception"),
        ("import os; os.fork()", "exception"),
    ):
        work = {
            "program": program, "token": "t", "paths": ["/usr", "/lib"], "memory": 10**9, "seconds": 5, "site": "",
            "landlock": True,
        }  # fmt: skip
        answer = subprocess.run(
            [python, "-I", "-S", "-c", f"{INSIDE.read_text()}\nmain(1)"],
            input=json.dumps(work) + "\n", capture_output=True, text=True, user=65534, check=False,
        )  # fmt: skip
        assert json.loads(answer.stdout)["status"] == status, answer
    assert kept.read_text() == "kept"


def test_the_mode_is_what_works_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox_mode() == ("bubblewrap" if shutil.which("bwrap") else "plain")
    monkeypatch.setenv("PATH", "/nowhere")
    assert sandbox_mode.__wrapped__() == "plain"


def test_a_machine_without_any_fence_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel without seccomp: the process says so instead of running the program."""
    monkeypatch.setattr(run, "INSIDE", Unfenced())
    assert run_program("x = 1", mode="plain").status == "refused"
    with pytest.raises(ConfigError, match="bubblewrap"):
        sandbox_mode.__wrapped__()


class Unfenced:
    """The text of ``inside`` for a processor that it has no system call table of."""

    def read_text(self) -> str:
        return INSIDE.read_text().replace('"x86_64"', '"z80"').replace('"aarch64"', '"6502"')
