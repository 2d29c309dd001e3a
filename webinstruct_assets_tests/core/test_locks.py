"""One holder at a time; what a killed one leaves is waited for."""

import subprocess
import sys
from pathlib import Path

import pytest

from webinstruct_assets.core.errors import Busy
from webinstruct_assets.core.locks import held

# Holds the lock, and so does a child of it, which ends one second after its parent was killed.
HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from webinstruct_assets.core.locks import held
child = f"import os, time\\nwhile os.getppid() == {os.getpid()}: time.sleep(0.01)\\ntime.sleep(1)"
with held(Path(sys.argv[1]), str, "") as lock:
    subprocess.Popen([sys.executable, "-c", child], pass_fds=[lock], stdout=subprocess.DEVNULL)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_holders_children_are_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match=f"{holder.pid} has it"), held(path, lambda pid: f"{pid} has it", "wait"):
            pass
        holder.kill()
    with held(path, lambda pid: f"{pid} has it", "wait"):
        assert path.read_text() != str(holder.pid)
