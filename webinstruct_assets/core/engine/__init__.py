"""Where units of work are computed: in this process, on this machine's cores, or on a Ray cluster.

An engine is given work and units, and yields an outcome per unit as they end, in any order. The units commit
themselves (``core.unit``), so all that travels is a unit's argument and its ledger entry, and what is published is the
same byte for byte whichever engine ran.

``inline`` stops at nothing but its own death; ``processes`` and ``ray`` also outlive the death of a worker: the unit in
it is tried again, ``RETRIES`` times. None of them leaves a process behind when the run is killed.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from webinstruct_assets.core.config import EngineConfig
    from webinstruct_assets.core.unit import Entry, Failed, Work

RETRIES = 2  # of a unit whose worker died, before it is given up
# A worker is one core's worth: so many workers would otherwise start so many times so many threads.
ONE_THREAD = {
    name: "1"
    for name in (
        "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
    )
} | {"TOKENIZERS_PARALLELISM": "false"}  # fmt: skip

UnitCall = tuple[str, Any]
Outcomes = Generator["Entry | Failed", None, None]


class Engine(Protocol):
    """Computes units. Closing the iterator ends what is still running."""

    def run(self, work: "Work", units: Sequence[UnitCall]) -> Outcomes:
        """One outcome per unit (name, argument), in the order in which they end."""
        ...


class Inline:
    """One unit after the other in this process."""

    def run(self, work: "Work", units: Sequence[UnitCall]) -> Outcomes:
        """Outcomes in the units' order."""
        for name, argument in units:
            yield work(name, argument)


def engine_of(config: "EngineConfig", log: Callable[[str], None]) -> Engine:
    """The environment's engine."""
    if config.kind == "processes":
        from webinstruct_assets.core.engine.processes import Processes

        return Processes(config.workers)
    if config.kind == "ray":
        from webinstruct_assets.core.engine.ray_cluster import RayCluster

        return RayCluster(config.address, config.workers, log)
    return Inline()
