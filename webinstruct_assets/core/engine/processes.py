"""Units on the cores of this machine, a process each.

Not ``concurrent.futures``: there, one killed worker (the kernel's answer to a lack of memory) fails everything in
flight without saying whose fault it was, and each worker imports the program's main module, which is Dagster here.
Workers are programs of their own (``core.engine.worker``), each at the other end of a socket, with one unit at a time:
a dead one costs its unit, and its unit is known.
"""

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING, Any, cast

from webinstruct_assets.core.engine import ONE_THREAD, RETRIES, Outcomes, UnitCall
from webinstruct_assets.core.engine.worker import Broken
from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.lifeline import process_identity

if TYPE_CHECKING:
    from webinstruct_assets.core.unit import Work

END_SECONDS = 10.0


class Processes:
    """Up to ``workers`` processes (default: one per core that this process may use)."""

    def __init__(self, workers: int | None = None):
        self.workers = workers or len(os.sched_getaffinity(0))

    def run(self, work: "Work", units: Sequence[UnitCall]) -> Outcomes:
        """Outcomes as units end. Raises WebInstructError when workers do not even start."""
        from webinstruct_assets.core.unit import Failed

        payload = pickle.dumps(work)
        waiting = deque(_Call(name, argument) for name, argument in units)
        workers: dict[Connection, _Worker] = {}
        false_starts = 0
        try:
            while waiting or any(worker.call for worker in workers.values()):
                for worker in workers.values():
                    if waiting and worker.ready and not worker.call:
                        worker.give(waiting.popleft())
                while len(workers) < min(self.workers, len(waiting) + sum(bool(w.call) for w in workers.values())):
                    worker = _Worker(payload)
                    workers[worker.connection] = worker
                for connection in cast(list[Connection], wait(list(workers))):
                    worker = workers[connection]
                    try:
                        message = connection.recv()
                    except (EOFError, ConnectionError):
                        del workers[connection]
                        ending = worker.end()
                        if worker.call is None:
                            false_starts += 1
                            if false_starts > RETRIES:
                                raise WebInstructError(
                                    f"{work.ledger.label}: {false_starts} worker processes died before their first unit"
                                    f", the last with {ending}",
                                    "see what they printed; `engine: {kind: inline}` does without them",
                                ) from None
                        elif worker.call.attempts <= RETRIES:
                            waiting.appendleft(worker.call)
                        else:
                            yield Failed(
                                worker.call.name,
                                f"its worker process died {worker.call.attempts} times, the last with {ending}",
                                "signal 9 mostly means that memory ran out: set `engine.workers` lower",
                            )
                        continue
                    if isinstance(message, Broken):
                        raise AssertionError(f"{work.ledger.label}: a worker cannot load its work\n{message.trace}")
                    if worker.ready:
                        worker.call = None
                        if waiting:  # before what is yielded is looked at, so that no core waits for that
                            worker.give(waiting.popleft())
                        yield message
                    worker.ready, false_starts = True, 0
        finally:
            for worker in workers.values():
                worker.end()


@dataclass
class _Call:
    name: str
    argument: Any
    attempts: int = 0


class _Worker:
    """A worker process; ``ready`` once it has loaded its work, ``call`` is what it computes."""

    def __init__(self, payload: bytes):
        self.connection, theirs = Pipe()
        self.ready = False
        self.call: _Call | None = None
        with theirs:
            self._process = subprocess.Popen(
                # -P: whatever lies in the working directory is no module, unless it is one here.
                [sys.executable, "-P", "-m", "webinstruct_assets.core.engine", str(theirs.fileno())],
                env={
                    **os.environ,
                    **ONE_THREAD,
                    "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
                },
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._send((process_identity(os.getpid()), payload))

    def give(self, call: _Call) -> None:
        call.attempts += 1
        self.call = call
        self._send((call.name, call.argument))

    def _send(self, message: Any) -> None:
        try:
            self.connection.send(message)
        except OSError:  # it is dead, which reading will show
            pass

    def end(self) -> str:
        """Makes sure that the process is gone; says how it went."""
        self.connection.close()
        try:
            # One that waits for work ends by itself at the closed connection.
            code = self._process.wait(0 if self.call else END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"
