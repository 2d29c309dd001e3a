"""Units on a Ray cluster: one that runs already, by address, or one of this machine for as long as the stage runs.

Every node needs the same environment and code; a lake on disk has to be one that all see, at the same path (a bucket is one):
a unit is committed where it is computed. Ray takes a task whose worker or node died to another node, ``RETRIES`` times.

Sources: https://docs.ray.io/en/latest/ray-core/fault_tolerance/tasks.html (retries),
https://docs.ray.io/en/latest/ray-core/patterns/limit-pending-tasks.html (tasks in flight).
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.engine import ONE_THREAD, RETRIES, Outcomes, UnitCall
from webinstruct_assets.core.errors import DeadEndpoint, WebInstructError

if TYPE_CHECKING:
    from webinstruct_assets.core.unit import Entry, Failed, Work

OBJECT_STORE_BYTES = 100 << 20  # nothing but arguments and ledger entries goes through it
PER_CPU = 2  # tasks in flight per CPU: one runs, one waits at hand
LOOK_SECONDS = 5.0  # at how many CPUs there are, which changes as nodes come and go
KNOCK_SECONDS = 10.0
QUIET_SECONDS = 60.0  # without any unit ending, until the log says so


class RayCluster:
    """Tasks of one CPU each, at most ``workers`` in flight (default: two per CPU of the cluster).

    ``address``: ``HOST:PORT``, ``auto`` or ``ray://…`` of a running cluster; None starts one here, of ``workers``
    CPUs. A connection that this process has already is used as it is.
    """

    def __init__(self, address: str | None, workers: int | None, log: Callable[[str], None]):
        self.address, self.workers, self._log = address, workers, log

    def run(self, work: "Work", units: Sequence[UnitCall]) -> Outcomes:
        """Outcomes as units end. Raises DeadEndpoint for a cluster that does not answer, WebInstructError without Ray."""
        from webinstruct_assets.core.unit import Failed

        if not units:
            return
        with self._connected() as ray:
            compute = ray.remote(_compute).options(
                num_cpus=1, max_retries=RETRIES, retry_exceptions=False, runtime_env={"env_vars": ONE_THREAD},
                name=work.ledger.label,
            )  # fmt: skip
            shared = ray.put(work)
            calls = iter(units)
            in_flight: dict[Any, str] = {}
            limit, looked, heard = 1, -LOOK_SECONDS, time.monotonic()
            try:
                while True:
                    if time.monotonic() - looked >= LOOK_SECONDS:
                        limit, looked = self._limit(ray), time.monotonic()
                    while len(in_flight) < limit and (call := next(calls, None)):
                        in_flight[compute.remote(shared, *call)] = call[0]
                    if not in_flight:
                        return
                    ended, _ = ray.wait(list(in_flight), num_returns=1, timeout=LOOK_SECONDS)
                    if not ended and time.monotonic() - heard >= QUIET_SECONDS:
                        heard = time.monotonic()
                        cpus = int(ray.cluster_resources().get("CPU", 0))
                        self._log(f"{work.ledger.label}: {len(in_flight)} units in flight, {cpus} CPUs in the cluster")
                    for task in ended:
                        heard, name = time.monotonic(), in_flight.pop(task)
                        try:
                            outcome = ray.get(task)
                        except ray.exceptions.RayError as error:
                            outcome = Failed(
                                name,
                                f"Ray gave it up: {type(error).__name__}: {str(error).strip()}",
                                "look at the cluster (`ray status`); every node needs this environment, this code and"
                                " the lake (docs/engines.md)",
                            )
                        yield outcome
            finally:
                for task in in_flight:
                    ray.cancel(task, force=True)

    def _limit(self, ray: Any) -> int:
        return self.workers or PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 0)))

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))  # Ray's own default is to try for ever
        try:
            import ray
        except ImportError as error:
            raise WebInstructError(
                f"engine ray: {error}", "install the extra: pip install 'webinstruct-assets[ray]'"
            ) from error
        if ray.is_initialized():
            yield ray
            return
        quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False, "configure_logging": False}
        try:
            if self.address:
                knock(self.address)
                ray.init(address=self.address, **quiet)
            else:
                ray.init(
                    address="local", num_cpus=self.workers or len(os.sched_getaffinity(0)), include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES, **quiet,
                )  # fmt: skip
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise DeadEndpoint(
                f"engine ray: no cluster at {self.address or 'this machine'}: {error}",
                "start one (`ray start --head`), or correct `engine.address`",
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def knock(address: str) -> None:
    """Raises OSError where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()


def _compute(work: "Work", name: str, argument: Any) -> "Entry | Failed":
    return work(name, argument)
