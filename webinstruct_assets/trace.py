"""Walking provenance: from any row, or any partition, down to WARC bytes.

A row's chain follows ``parent_id`` from asset to asset until the crawl's file list. A partition's chain follows
the inputs that its manifest pins; example rows are of the nearest partition, itself included, whose rows come from the
crawl. A row that stands for all inputs of its partition (``Stage.whole``) has that partition's examples.
"""

import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from webinstruct_assets.core.errors import BadInput, BadManifest, MissingInput
from webinstruct_assets.core.gunzip import gunzip
from webinstruct_assets.core.keys import PartitionKey, Ref, plain_snapshot
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import BY_ASSET, BY_PREFIX, stage_of
from webinstruct_assets.sql import quote, scan

if TYPE_CHECKING:
    from webinstruct_assets.stages.crawl.source import CrawlSource

SAMPLED_ROWS = 3
MAX_RECORD = 1 << 30  # bytes of a WARC record shown raw
FIRST_READ = 1 << 18  # bytes of a record whose length nobody has written down
# Not shown: what names the row, and what is a page of text or places in one.
HIDDEN = {"id", "parent_id", "text", "question_spans", "answer_spans", "markup_pairs", "posts"}
PLACE = ("url", "warc_filename", "warc_record_offset", "warc_record_length", "content_digest", "fetch_time")


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
        self._find = lru_cache(1024)(self._look_up)  # chains meet: pairs of a page, pages of a file

    def provenance(self, what: str, everything: bool) -> tuple[list[Link], list[list[Step]]]:
        """Of a row id or ASSET/PARTITION: the manifests of what it was made from, where it stands for a partition, and
        chains of rows: its own, and examples.
        """
        if "/" in what or what in BY_ASSET:
            ref = self.ref(what)
            return self.manifests(ref), self.sample(ref, everything)
        chain = self.row(what)
        if not BY_ASSET[chain[0].asset].whole or self.warc_record(chain):
            return [], [chain]
        ref = self.ref(f"{chain[0].asset}/{chain[0].partition}")
        return self.manifests(ref), [chain, *self.sample(ref, everything)]

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
                {name: value for name, value in columns.items() if name not in HIDDEN and value is not None},
            )
            if columns.get("question_spans") is not None:
                pairs.append((step, columns))
            if columns.get("text") is not None:
                for pair, spans in pairs:
                    pair.spans = {
                        name: _cut(columns["text"], spans[f"{name}_spans"]) for name in ("question", "answer")
                    }
                pairs = []  # the text further up is the crawl's own of the page
            steps.append(step)
            identity = columns.get("parent_id") or ""
        return steps

    def _look_up(self, identity: str) -> tuple[Manifest, dict[str, Any]]:
        stage = BY_PREFIX.get(identity.partition("-")[0])
        if stage is None:
            raise MissingInput(
                f"{identity!r} is not a row id",
                f"ids start with one of: {', '.join(BY_PREFIX)}; or give ASSET/PARTITION",
            )
        unreadable: dict[Ref, BadManifest] = {}
        manifests = self._ws.lake.manifests(stage.asset, unreadable)
        for rejected in (False, True):
            for manifest in manifests:
                parts = manifest.rejects if rejected else manifest.parts
                if not (paths := self._ws.lake.that_may_hold(manifest, parts, identity)):
                    continue
                found = self._db.execute(f"SELECT * FROM {scan(paths)} WHERE id = {quote(identity)} LIMIT 1")
                if row := found.fetchone():
                    columns = dict(zip([column[0] for column in found.description], row, strict=True))
                    return manifest, columns
        for error in unreadable.values():
            raise error
        raise MissingInput(
            f"no row {identity!r} in {stage.asset} (nor among its rejects)",
            "check the id, or materialize the asset again",
        )

    def warc_record(self, steps: list[Step]) -> dict[str, Any] | None:
        """Where the chain's page lies: snapshot, url, file, offset and length (bytes), digest, fetch time; None where the
        row does not come from the crawl.

        Above ``recalled_urls`` that is the record of the page's text in a WET file, which is a WARC file of records of type
        conversion; its length and digest are not known (None). A row of the file list stands for its file's first record.
        """
        for step in reversed(steps):
            if "warc_filename" in step.columns:
                return {"snapshot": _snapshot(step), **{name: step.columns.get(name) for name in PLACE}}
        file = steps[-1]
        if file.columns.get("kind") not in ("warc", "wet"):
            return None
        page: dict[str, Any] = next((step.columns for step in reversed(steps) if "offset" in step.columns), {})
        found = {
            "url": page.get("url"),
            "warc_filename": file.columns["path"],
            "warc_record_offset": page.get("offset", 0),
            "fetch_time": page.get("date"),
        }
        return {"snapshot": _snapshot(file), **{name: found.get(name) for name in PLACE}}

    def raw_record(self, place: dict[str, Any]) -> bytes:
        """The WARC record's own bytes, inflated."""
        from webinstruct_assets.stages.crawl.source import CrawlSource

        source = CrawlSource.of(self._ws, place["snapshot"])
        path, offset = place["warc_filename"], place["warc_record_offset"]
        if place["warc_record_length"] is None:
            return _first_record(source, path, offset)
        data = source.read_range(path, offset, place["warc_record_length"])
        return gunzip(data, MAX_RECORD, f"{path} at {offset}") if data[:2] == b"\x1f\x8b" else data

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

    def sample(self, ref: Ref, everything: bool) -> list[list[Step]]:
        """Chains of rows that stand for a partition: of the nearest one, itself included, that has rows from the crawl.
        Where there is none, of the partition itself.
        """
        waiting, seen = [ref], set()
        while waiting:
            current = waiting.pop(0)
            if current in seen:
                continue
            seen.add(current)
            manifest = self._ws.lake.require(current, "trace")
            found = [chain for chain in self._chains(manifest, SAMPLED_ROWS) if self.warc_record(chain)]
            if found:
                return self._chains(manifest, None) if everything else found[:SAMPLED_ROWS]
            # The last of the funnel's steps is the dataset, whose pairs have the longest way back.
            waiting += [self.ref(f"{item.asset}/{item.partition}") for item in reversed(manifest.inputs)]
        return self._chains(self._ws.lake.require(ref, "trace"), None if everything else SAMPLED_ROWS)

    def _chains(self, manifest: Manifest, most: int | None) -> list[list[Step]]:
        """Chains of at most so many of the partition's rows from every asset that has parents of them, by id.

        Ids are digests, so the first ones are spread over the table, and are the same every time.
        """
        source = self._ws.lake.source(manifest, "trace")
        above = pl.col("parent_id").str.split("-").list.first()
        found = pl.DataFrame(schema={"id": pl.String, "parent_id": pl.String})
        for part in source.parts:
            rows = pl.concat([found, self._ws.lake.columns(source, part, ["id", "parent_id"])])
            found = rows if most is None else rows.filter(pl.col("id").rank("ordinal").over(above) <= most)
        return [self.row(identity) for identity in found["id"].sort()]


def _snapshot(step: Step) -> str:
    return plain_snapshot(step.partition)


def _first_record(source: "CrawlSource", path: str, offset: int) -> bytes:
    """The gzip member at ``offset``, inflated, read as far as it turns out to go."""
    size = FIRST_READ
    while True:
        (data,) = source.read_ranges(path, [(offset, size)])
        inflater = zlib.decompressobj(wbits=31)
        try:
            record = inflater.decompress(data, MAX_RECORD)
        except zlib.error as error:
            raise BadInput(f"{path} at {offset}: not readable as gzip ({error})", "fetch it again") from error
        if inflater.eof:
            return record
        if len(data) < size:
            raise BadInput(f"{path} at {offset}: the file ends within a record", "fetch it again")
        size *= 4


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


def describe_place(place: dict[str, Any]) -> str:
    """A WARC record's place for the terminal."""
    known = {
        "offset": place["warc_record_offset"],
        "length": place["warc_record_length"],
        "digest": place["content_digest"] and f"sha1:{place['content_digest']}",
        "fetched": place["fetch_time"],
    }
    facts = " ".join(f"{name} {value}" for name, value in known.items() if value is not None)
    return f"WARC record: {place['warc_filename']} {facts}" + (f"\n             {place['url']}" if place["url"] else "")


def origins(links: list[Link], chains: list[list[Step]]) -> list[str]:
    """Where what is not from the crawl begins: partitions that the rows lead to, or that have no inputs."""
    rows = [chain for chain in chains if not BY_ASSET[chain[0].asset].whole]
    roots = {f"{chain[-1].asset}/{chain[-1].partition}" for chain in rows}
    return sorted(roots or {link.ref for link in links if not link.inputs})


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
