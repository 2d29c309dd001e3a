"""Progress of a build: done/total, rate, ETA, rejects by reason and cost so far, every few seconds.

It is logged, told to a listener (Dagster's observations), and stands in ``.progress.json`` of the partition's folder for
other processes (``webinstruct status``, the metrics endpoint) while the build lasts.
"""

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from webinstruct_assets.core.lake import write_atomically
from webinstruct_assets.core.lifeline import process_identity

EVERY_SECONDS = 2.0
FILE = ".progress.json"


@dataclass(frozen=True)
class Standing:
    """Where a build stands. ``rate``: records a second; ``eta``: seconds left, None before the first record."""

    label: str
    noun: str
    done: int
    total: int
    rate: float
    eta: float | None
    rejected: dict[str, int]
    dollars: float

    def line(self) -> str:
        """One line for a log."""
        rejects = ", ".join(f"{reason} {count}" for reason, count in sorted(self.rejected.items()))
        return (
            f"{self.label}: {self.done:,}/{self.total:,} {self.noun}, {self.rate:,.1f}/s,"
            f" ETA {'?' if self.eta is None else f'{self.eta:.0f} s'}, ${self.dollars:.4f}"
            + (f", rejected: {rejects}" if rejects else "")
        )


Listener = Callable[[Standing], None]


class Progress:
    """Counts finished records and says so; cheap enough to call per record.

    ``dollars``: cost so far. ``folder``: of the partition, None where no other process looks on.
    """

    def __init__(
        self,
        label: str,
        log: Callable[[str], None],
        dollars: Callable[[], float] = lambda: 0.0,
        folder: Path | None = None,
        listener: Listener = lambda standing: None,
    ):
        self.label = label
        self._log, self._dollars, self._listener = log, dollars, listener
        self._file = folder / FILE if folder else None
        self._start = self._last = time.monotonic()
        self._total = self._done = self._before = 0
        self._noun = "records"
        self._rejected: Counter[str] = Counter()

    def start(self, total: int, noun: str, done: int = 0, rejected: Mapping[str, int] | None = None) -> None:
        """Begins a phase of ``total`` records called ``noun``.

        ``done`` of them, with these rejects, an earlier run has done; they say nothing about this one's rate.
        """
        self._start, self._last, self._total, self._noun = time.monotonic(), 0.0, total, noun
        self._done = self._before = done
        self._rejected.update(rejected or {})

    def advance(self, count: int = 1, rejected: Mapping[str, int] | None = None) -> None:
        """Counts ``count`` more records; speaks at most every few seconds, and when the total is reached."""
        self._done += count
        self._rejected.update(rejected or {})
        now = time.monotonic()
        if now - self._last >= EVERY_SECONDS or self._done == self._total:
            self._last = now
            standing = self.standing(now)
            self._log(standing.line())
            self._listener(standing)
            if self._file:
                _write(self._file, standing)

    def standing(self, now: float) -> Standing:
        """Where the build stands at time ``now`` (monotonic seconds)."""
        rate = (self._done - self._before) / max(now - self._start, 1e-6)
        return Standing(
            self.label,
            self._noun,
            self._done,
            self._total,
            rate,
            (self._total - self._done) / rate if rate else None,
            dict(self._rejected),
            self._dollars(),
        )

    def close(self) -> None:
        """The build ended, one way or another."""
        if self._file:
            self._file.unlink(missing_ok=True)


def _write(path: Path, standing: Standing) -> None:
    owner = {"host": socket.gethostname(), "process": process_identity(os.getpid())}
    write_atomically(path, json.dumps({**asdict(standing), **owner}).encode())


def standing_of(folder: Path) -> Standing | None:
    """Where the build of a partition stands; None when nobody builds it (a killed build's file is no build)."""
    try:
        record = json.loads((folder / FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    host, process = record.pop("host"), record.pop("process")
    if host == socket.gethostname() and (process is None or process_identity(process[0]) != tuple(process)):
        return None
    return Standing(**record)
