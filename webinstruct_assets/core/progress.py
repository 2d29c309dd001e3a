"""Progress of a build: done/total, rate, ETA, rejects by reason and cost so far.

It is logged and told to a listener (Dagster's observations) every ten seconds, and every two it stands in
``.progress.json`` of the partition's folder for other processes (``webinstruct status``, the metrics endpoint) while the
build lasts; a lake in a bucket shows it to other machines.
"""

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from webinstruct_assets.core.lake import PROGRESS, Lake, write_atomically
from webinstruct_assets.core.lifeline import process_identity

EVERY_SECONDS = 2.0
LOG_SECONDS = 10.0  # a line of a run's log is a row of Dagster's event log
OLD_SECONDS = 60.0  # what was said so long ago is dated


@dataclass(frozen=True)
class Standing:
    """Where a build stands. ``rate``: records a second; ``eta``: seconds left, None where nothing tells.

    ``total``: None where it is not known beforehand. ``at``: when this was so, in seconds since 1970.
    """

    label: str
    noun: str
    done: int
    total: int | None
    rate: float
    eta: float | None
    rejected: dict[str, int]
    dollars: float
    at: float

    def line(self) -> str:
        """One line for a log, or for who looks on."""
        of = "" if self.total is None else f"/{self.total:,}"
        rejects = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.rejected.items()))
        ago = time.time() - self.at
        return (
            f"{self.label}: {self.done:,}{of} {self.noun}, {self.rate:,.1f}/s,"
            f" ETA {'?' if self.eta is None else duration(self.eta)}, ${self.dollars:.4f}"
            + (f", rejected: {rejects}" if rejects else "")
            + (f" ({duration(ago)} ago)" if ago > OLD_SECONDS else "")
        )


def duration(seconds: float) -> str:
    """In the two largest units, as ``3 h 20 min``."""
    seconds = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // part} {smaller}"
    return f"{seconds} s"


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
        self._file = folder / PROGRESS if folder else None
        self._start = self._last = self._logged = time.monotonic()
        self._total: int | None = None
        self._done = self._before = 0
        self._noun = ""
        self._rejected: Counter[str] = Counter()
        self.close()  # of a build that was killed

    def start(self, total: int | None, noun: str, done: int = 0, rejected: Mapping[str, int] | None = None) -> None:
        """Begins a phase of ``total`` records called ``noun``, and says so.

        ``done`` of them, with these rejects, an earlier run has done; they say nothing about this one's rate.
        """
        self._start, self._total, self._noun = time.monotonic(), total, noun
        self._done = self._before = done
        self._rejected.update(rejected or {})
        self._say(aloud=True)

    def found(self, count: int) -> None:
        """Counts records of this phase that an earlier run has done."""
        self._done += count
        self._before += count

    def advance(self, count: int = 1, rejected: Mapping[str, int] | None = None) -> None:
        """Counts ``count`` more records; speaks at most every few seconds, and when the total is reached."""
        self._done += count
        self._rejected.update(rejected or {})
        now, ended = time.monotonic(), count > 0 and self._done == self._total
        if ended or now - self._last >= EVERY_SECONDS:
            self._say(aloud=ended or now - self._logged >= LOG_SECONDS)

    def settle(self, rejected: Mapping[str, int]) -> None:
        """What was rejected by now, in place of all that was told before; the end of a phase is told with it."""
        changed = self._rejected != rejected
        self._rejected = Counter(rejected)
        if changed and self._noun and self._done == self._total:
            self._say(aloud=True)

    def _say(self, aloud: bool) -> None:
        self._last = time.monotonic()
        standing = self.standing(self._last)
        if aloud:
            self._logged = self._last
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
            (self._total - self._done) / rate if rate and self._total is not None else None,
            dict(+self._rejected),
            self._dollars(),
            time.time(),
        )

    def close(self) -> None:
        """The build ended, one way or another."""
        if self._file:
            self._file.unlink(missing_ok=True)


def _write(path: Path, standing: Standing) -> None:
    owner = {"host": socket.gethostname(), "process": process_identity(os.getpid())}
    write_atomically(path, json.dumps({**asdict(standing), **owner}).encode())


def builds(lake: Lake) -> list[Standing]:
    """Where everything stands that is being built now, on any machine; ``label`` is "ASSET PARTITION".

    What a killed build left is none: this machine's processes are looked at, others' leases end.
    """
    found = (_standing(data) for data in lake.builds())
    return sorted((standing for standing in found if standing), key=lambda standing: standing.label)


def _standing(data: bytes) -> Standing | None:
    try:
        record = json.loads(data)
        host, process = record.pop("host"), record.pop("process")
        standing = Standing(**record)
    except (ValueError, KeyError, TypeError):  # cut by a power failure, or written by another version of this code
        return None
    if host == socket.gethostname() and (process is None or process_identity(process[0]) != tuple(process)):
        return None
    return standing
