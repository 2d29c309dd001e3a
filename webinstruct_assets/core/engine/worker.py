"""A worker of the engine ``processes``: ``python -m webinstruct_assets.core.engine SOCKET``.

Receives the run's process and the work, says None when that is loaded, then answers each (name, argument) with the
unit's outcome. Ends when the socket closes, and dies with the run.
"""

import os
import pickle
import signal
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection


@dataclass(frozen=True)
class Broken:
    """Answer of a worker that cannot load the work."""

    trace: str


def main(descriptor: int) -> None:
    """Serves the run at the other end of the socket."""
    from webinstruct_assets.core.lifeline import die_with

    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal's processes; the run decides
    connection = Connection(descriptor)
    try:
        owner, payload = connection.recv()
        die_with(owner)
        try:
            work = pickle.loads(payload)
        except Exception:
            connection.send(Broken(traceback.format_exc()))
            return
        connection.send(None)
        while True:
            name, argument = connection.recv()
            connection.send(work(name, argument))
    except (EOFError, ConnectionError):
        return
