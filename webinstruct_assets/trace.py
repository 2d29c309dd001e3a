"""Walking provenance: from any row, or any partition, down to WARC bytes.

A row's chain follows ``parent_id`` from asset to asset until the crawl's file list. A partition's chain follows
the inputs that its manifest pins; rows are sampled from the nearest dataset of rows above.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb

from webinstruct_assets.core.errors import MissingInput
from webinstruct_assets.core.gunzip import gunzip
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import BY_ASSET, BY_PREFIX, stage_of
from webinstruct_assets.sql import quote, scan

SAMPLED_ROWS = 3
MAX_RECORD = 1 << 30  # bytes of a WARC record shown raw
# Assets that have no text of their own to show beyond these columns.
SHOWN = (
    "url",
    "domain",
    "title",
    "question",
    "answer",
    "score",
    "label",
    "rule",
    "status",
    "refiner",
    "subject",
    "warc_filename",
    "warc_record_offset",
    "warc_record_length",
    "content_digest",
    "fetch_time",
    "kind",
    "path",
    "item_id",
    "completion",
    "extracted",
    "correct",
    "paper_correct",
    "contaminated",
    "messages",
    "step",
    "loss",
)


@dataclass
class Step:
    """One row of a chain: where it lives, its shown columns, and for a pair the page text of its spans."""

    asset: str
    partition: str
    id: str
    columns: dict[str, Any]
    spans: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass
class Link:
    """One manifest of a partition's chain and the inputs it pins; ``intact``: an input's manifest is still that one."""

    ref: str
    data_version: str
    rows: int
    reuses: str | None
    inputs: list[dict[str, Any]]


class Tracer:
    """Finds rows and manifests in one workspace."""

    def __init__(self, ws: Workspace):
        self._ws = ws
        self._db = duckdb.connect()

    # -- rows --------------------------------------------------------------------------------------------

    def row(self, identity: str) -> list[Step]:
        """The chain of one row, the row itself first. Raises MissingInput for an id that is nowhere."""
        steps = []
        pairs: list[tuple[Step, dict[str, Any]]] = []
        while identity:
            manifest, columns = self._find(identity)
            step = Step(
                manifest.asset,
                manifest.partition,
                identity,
                {name: columns[name] for name in SHOWN if columns.get(name) is not None},
            )
            if columns.get("question_spans") is not None:
                pairs.append((step, columns))
            if manifest.asset == "pages":
                for pair, spans in pairs:
                    pair.spans = {
                        name: _cut(columns["text"], spans[f"{name}_spans"]) for name in ("question", "answer")
                    }
            steps.append(step)
            identity = columns.get("parent_id") or ""
        return steps

    def _find(self, identity: str) -> tuple[Manifest, dict[str, Any]]:
        stage = BY_PREFIX.get(identity.partition("-")[0])
        if stage is None:
            raise MissingInput(
                f"{identity!r} is not a row id",
                f"ids start with one of: {', '.join(BY_PREFIX)}; or give ASSET/PARTITION",
            )
        for rejected in (False, True):
            for manifest in self._ws.lake.manifests(stage.asset):
                paths = self._ws.lake.reject_paths(manifest) if rejected else self._ws.lake.part_paths(manifest)
                if not paths:
                    continue
                found = self._db.execute(f"SELECT * FROM {scan(paths)} WHERE id = {quote(identity)} LIMIT 1")
                if row := found.fetchone():
                    columns = dict(zip([column[0] for column in found.description], row, strict=True))
                    return manifest, columns
        raise MissingInput(
            f"no row {identity!r} in {stage.asset} (nor among its rejects)",
            "check the id, or materialize the asset again",
        )

    def warc_record(self, steps: list[Step]) -> dict[str, Any] | None:
        """Where the chain's page lies: snapshot, file, offset and length (bytes), digest, fetch time."""
        for step in steps:
            if step.asset == "recalled_urls":
                names = (
                    "url",
                    "warc_filename",
                    "warc_record_offset",
                    "warc_record_length",
                    "content_digest",
                    "fetch_time",
                )
                return {"snapshot": step.partition, **{name: step.columns[name] for name in names}}
        return None

    def raw_record(self, place: dict[str, Any]) -> bytes:
        """The WARC record's own bytes, inflated."""
        from webinstruct_assets.stages.crawl.source import CrawlSource

        source = CrawlSource.of(self._ws, place["snapshot"])
        data = source.read_range(place["warc_filename"], place["warc_record_offset"], place["warc_record_length"])
        if data[:2] != b"\x1f\x8b":
            return data
        return gunzip(data, MAX_RECORD, f"{place['warc_filename']} at {place['warc_record_offset']}")

    # -- partitions --------------------------------------------------------------------------------------

    def ref(self, text: str) -> Ref:
        """``ASSET/PARTITION`` as a Ref. Raises ConfigError or BadKey."""
        asset, _, partition = text.partition("/")
        return Ref(asset, PartitionKey.parse(stage_of(asset).dimensions, partition))

    def manifests(self, ref: Ref) -> list[Link]:
        """The partition's manifest and everything that it was made from, each once, nearest first."""
        links: dict[str, Link] = {}
        waiting = [ref]
        while waiting:
            current = waiting.pop(0)
            if str(current) in links:
                continue
            manifest = self._ws.lake.require(current, "trace")
            inputs = []
            for item in manifest.inputs:
                parent = self.ref(f"{item.asset}/{item.partition}")
                now = self._ws.lake.manifest(parent)
                intact = now is not None and self._ws.lake.manifest_sha256(parent) == item.manifest_sha256
                inputs.append(
                    {
                        **item.model_dump(),
                        "intact": intact,
                        "same_data": now is not None and now.data_version == item.data_version,
                    }
                )
                waiting.append(parent)
            links[str(current)] = Link(str(current), manifest.data_version, manifest.rows, manifest.reuses, inputs)
        return list(links.values())

    def sample(self, ref: Ref, everything: bool) -> Iterator[str]:
        """Ids of rows that stand for a partition: its own, or for models and scores those they were trained on."""
        manifest = self._rows_behind(ref)
        if manifest is None:
            return
        paths = self._ws.lake.part_paths(self._ws.lake.source(manifest, "trace"))
        limit = "" if everything else f"LIMIT {SAMPLED_ROWS}"
        # Ordered by a hash, so the sample is spread over the table and is the same every time.
        for (identity,) in self._db.execute(f"SELECT id FROM {scan(paths)} ORDER BY md5(id) {limit}").fetchall():
            yield identity

    def _rows_behind(self, ref: Ref) -> Manifest | None:
        """The nearest partition of rows with WARC ancestry: the partition itself, or the data under a model or score."""
        aggregates = {"trained_checkpoint", "benchmark_scores"}
        waiting, seen = [ref], set()
        while waiting:
            current = waiting.pop(0)
            if current in seen or current.asset not in BY_ASSET:
                continue
            seen.add(current)
            manifest = self._ws.lake.require(current, "trace")
            if current.asset not in aggregates and current.asset != "benchmark_items" and manifest.rows:
                return manifest
            waiting += [self.ref(f"{item.asset}/{item.partition}") for item in manifest.inputs]
        return None


def _cut(text: str, spans: list[dict[str, int]]) -> list[dict[str, Any]]:
    return [{**span, "text": text[span["start"] : span["end"]]} for span in spans]


def describe(steps: list[Step]) -> str:
    """A row's chain for the terminal."""
    lines = []
    for depth, step in enumerate(steps):
        lines.append(f"{'  ' * depth}{step.asset}/{step.partition}  {step.id}")
        for name, value in step.columns.items():
            lines.append(f"{'  ' * depth}    {name}: {_short(value)}")
        for name, spans in step.spans.items():
            for span in spans:
                lines.append(
                    f"{'  ' * depth}    {name} = page text [{span['start']}:{span['end']}] {_short(span['text'])}"
                )
    return "\n".join(lines)


def describe_links(links: list[Link]) -> str:
    """A partition's manifest chain for the terminal."""
    lines = []
    for link in links:
        lines.append(
            f"{link.ref}  {link.rows:,} rows  data {link.data_version[:12]}"
            + (f"  reuses {link.reuses}" if link.reuses else "")
        )
        for item in link.inputs:
            mark = (
                ""
                if item["intact"]
                else "  (re-materialized since, same data)"
                if item["same_data"]
                else "  (CHANGED since)"
            )
            lines.append(f"    <- {item['asset']}/{item['partition']}  manifest {item['manifest_sha256'][:12]}{mark}")
    return "\n".join(lines)


def _short(value: Any, limit: int = 300) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
