"""Progress of a stage: one line every few seconds with done/total, rate, ETA and rejects by reason."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

EVERY_SECONDS = 2.0


class Progress:
    """Counts finished units and says so through ``log``; cheap enough to call per record."""

    def __init__(self, label: str, log: Callable[[str], None]):
        self.label = label
        self._log = log
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
        """Counts ``count`` more records; logs at most every few seconds, and when the total is reached."""
        self._done += count
        self._rejected.update(rejected or {})
        now = time.monotonic()
        if now - self._last >= EVERY_SECONDS or self._done == self._total:
            self._last = now
            self._log(self.line(now))

    def line(self, now: float) -> str:
        """The progress line at time ``now`` (monotonic seconds)."""
        seconds = max(now - self._start, 1e-6)
        rate = (self._done - self._before) / seconds
        left = (self._total - self._done) / rate if rate else float("inf")
        rejects = ", ".join(f"{reason} {count}" for reason, count in sorted(self._rejected.items()))
        return f"{self.label}: {self._done:,}/{self._total:,} {self._noun}, {rate:,.1f}/s, ETA {left:.0f} s" + (
            f", rejected: {rejects}" if rejects else ""
        )
