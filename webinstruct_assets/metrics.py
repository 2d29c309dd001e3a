"""Prometheus metrics of the lake: what is published, what is being built, what it cost. For the extra ``metrics``.

Everything comes from manifests and from what builds at work say of themselves, at scrape time: nothing is counted twice, a
restart forgets nothing, and builds in other processes are seen, with a lake in a bucket those of other machines too. All
are gauges: a partition that is made again has numbers of its own.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from webinstruct_assets.core.cost import cost_of_build
from webinstruct_assets.core.errors import BadManifest, ConfigError
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.progress import builds
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import STAGES

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client.core import Metric


class LakeCollector:
    """Reads the lake whenever Prometheus asks."""

    def __init__(self, ws: Workspace):
        self._ws = ws

    def collect(self) -> Iterator["Metric"]:
        """Metrics of published partitions, then of builds in flight."""
        from prometheus_client.core import GaugeMetricFamily

        def gauge(name: str, help_text: str, *more: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"webinstruct_{name}", help_text, labels=["asset", "partition", *more])

        records_in = gauge("records_in", "Records that a published partition read")
        rows = gauge("rows", "Rows of a published partition")
        rejects = gauge("rejected_records", "Rejected records of a published partition", "reason")
        size = gauge("bytes", "Bytes of a published partition")
        seconds = gauge("build_seconds", "Wall-clock of the build of a published partition")
        cpu = gauge("build_cpu_seconds", "CPU-seconds of the build of a published partition")
        tokens = gauge("build_tokens", "Tokens that the build of a published partition asked of an LLM", "direction")
        dollars = gauge("build_dollars", "Cost of the build of a published partition by the configured prices")
        finished = gauge("finished_timestamp_seconds", "When a published partition was finished")
        unreadable = gauge("unreadable_manifest", "1 for a partition whose manifest cannot be read")
        bad: dict[Ref, BadManifest] = {}
        for stage in STAGES:
            for manifest in self._ws.lake.manifests(stage.asset, bad):
                if manifest.reuses:  # its numbers are the other partition's
                    continue
                labels = [manifest.asset, manifest.partition]
                cost = cost_of_build(manifest, self._ws.config.costs)
                records_in.add_metric(labels, manifest.rows_in)
                rows.add_metric(labels, manifest.rows)
                size.add_metric(labels, manifest.bytes)
                seconds.add_metric(labels, manifest.seconds)
                cpu.add_metric(labels, manifest.cpu_seconds)
                dollars.add_metric(labels, cost.dollars)
                finished.add_metric(labels, datetime.fromisoformat(manifest.finished_at).timestamp())
                for reason, count in manifest.rejected.items():
                    rejects.add_metric([*labels, reason], count)
                tokens.add_metric([*labels, "in"], cost.tokens_in)
                tokens.add_metric([*labels, "out"], cost.tokens_out)
        for ref in bad:
            unreadable.add_metric([ref.asset, str(ref.key)], 1)
        yield from (records_in, rows, rejects, size, seconds, cpu, tokens, dollars, finished, unreadable)

        done = gauge("running_records_done", "Records that a build at work has done in its phase", "phase")
        expected = gauge("running_records_expected", "Records that the phase of a build at work has in all", "phase")
        rate = gauge("running_records_per_second", "Throughput of a build at work in its phase", "phase")
        left = gauge("running_left_seconds", "Time that the phase of a build at work still takes at its rate", "phase")
        running_rejects = gauge("running_rejected_records", "Rejected records of a build at work so far", "reason")
        spending = gauge("running_dollars", "Cost of a build at work so far by the configured prices")
        told = gauge("running_told_timestamp_seconds", "When a build at work last said where it stands")
        for standing in builds(self._ws.lake):
            labels = standing.label.split(" ", 1)  # asset, partition
            phase = [*labels, standing.noun]
            done.add_metric(phase, standing.done)
            if standing.total is not None:
                expected.add_metric(phase, standing.total)
            rate.add_metric(phase, standing.rate)
            if standing.eta is not None:
                left.add_metric(phase, standing.eta)
            for reason, count in standing.rejected.items():
                running_rejects.add_metric([*labels, reason], count)
            spending.add_metric(labels, standing.dollars)
            told.add_metric(labels, standing.at)
        yield from (done, expected, rate, left, running_rejects, spending, told)


def serve(ws: Workspace, port: int) -> "WSGIServer":
    """Starts the endpoint on loopback in a thread; ``server_port`` tells a free port that was asked for with 0.

    Raises ConfigError where the extra is not installed or the port is taken.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        raise ConfigError(
            "Prometheus metrics need the package prometheus-client", "pip install 'webinstruct-assets[metrics]'"
        ) from error
    registry = CollectorRegistry()
    registry.register(LakeCollector(ws))
    try:
        server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise ConfigError(f"port {port} of 127.0.0.1: {error.strerror}", "give another one with --port") from error
    return server
