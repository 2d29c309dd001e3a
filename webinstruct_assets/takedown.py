"""Recording a takedown: which rows of the lake hold it, and which models were trained on them.

In: a domain, a URL, or the id of a pair or of anything below one. Out: a line in the journal, with the rows beside it.
Nothing is deleted here: the next materialization of a partition leaves the rows out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import duckdb
import polars as pl

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.lake import ref_of
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.progress import Progress
from webinstruct_assets.core.takedown import HELD_SCHEMA, HOST, Takedown, folded_pair
from webinstruct_assets.core.urls import host_of
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import STAGES
from webinstruct_assets.sql import quote, scan
from webinstruct_assets.trace import Tracer

# Assets that have no row to leave out: they are made from rows, and have to be made again.
MADE_FROM = (
    *(stage.asset for stage in STAGES if stage.asset.endswith("_model")),
    "webinstruct_release",
    "trained_checkpoint",
)
PAIRS = ("extracted_qa", "public_sets")  # where a pair begins, and what else is taken down row by row


@dataclass(frozen=True)
class Holding:
    """A partition that holds rows of a takedown, or was made from one that does (``rows`` 0)."""

    takedown: str
    asset: str
    partition: str
    rows: int


def take_down(
    ws: Workspace,
    kind: Literal["domain", "url", "pair"],
    value: str,
    reason: str,
    by: str,
    log: Callable[[str], None] = lambda line: None,
) -> Takedown:
    """Records one request. Raises BadInput for an empty or malformed one, MissingInput for an unknown pair."""
    if not reason.strip():
        raise BadInput("a takedown without a reason", "say why, for whoever has to account for it later")
    value = _normalised(ws, kind, value.strip())
    at = datetime.now(UTC).isoformat(timespec="seconds")
    identity = f"td-{digest_json([kind, value, reason, at])[:16]}"
    takedown = Takedown(id=identity, kind=kind, value=value, reason=reason.strip(), at=at, by=by)
    ws.lake.record(takedown, _held(ws, takedown, Progress(f"takedown {kind} {value}", log)))
    return takedown


def _normalised(ws: Workspace, kind: str, value: str) -> str:
    if kind == "domain":
        domain = value.lower().removeprefix("*.").strip(".")
        if not domain or "/" in domain or host_of(f"http://{domain}/") != domain:
            raise BadInput(f"{value!r} is no domain", "give a host name such as example.org; it covers its subdomains")
        return domain
    if kind == "url":
        if not host_of(value):
            raise BadInput(f"{value!r} is no URL", "give it as it stands in the data, with http:// or https://")
        return value
    chain = Tracer(ws).row(value)
    pairs = [step.id for step in chain if step.asset in PAIRS]
    if not pairs:
        raise BadInput(f"{value} is a row of {chain[0].asset}, above pairs", "take down its URL or its domain instead")
    return pairs[0]


def _held(ws: Workspace, takedown: Takedown, progress: Progress) -> pl.DataFrame:
    """Rows that match, and all that descend from them, in data-flow order; then the models made from any of these."""
    database = duckdb.connect()
    database.execute(
        "CREATE TABLE held (asset VARCHAR, partition VARCHAR, data_version VARCHAR, id VARCHAR, question VARCHAR, answer VARCHAR)"
    )
    manifests = [(stage, manifest) for stage in STAGES for manifest in ws.lake.manifests(stage.asset)]
    progress.start(sum(len(manifest.parts) for _, manifest in manifests), "parts searched")
    for stage, manifest in manifests:
        paths = ws.lake.part_paths(manifest)
        if paths:
            texts = "question, answer" if {"question", "answer"} <= set(stage.schema) else "'', ''"
            names = (quote(manifest.asset), quote(manifest.partition), quote(manifest.data_version))
            database.execute(
                f"INSERT INTO held SELECT {', '.join(names)}, id, {texts} FROM {scan(paths)}"
                f" WHERE parent_id IN (SELECT id FROM held) OR {_matches(takedown, list(stage.schema))}"
            )
            progress.advance(len(paths))
    rows = database.sql("SELECT DISTINCT * FROM held ORDER BY ALL").pl()
    held = rows.with_columns(folded_pair("question", "answer").alias("text")).select(
        pl.col(name).cast(kind) for name, kind in HELD_SCHEMA.items()
    )
    return pl.concat([held, _made_from(ws, held)])


def _matches(takedown: Takedown, columns: Sequence[str]) -> str:
    value = quote(takedown.value)
    if takedown.kind == "pair":
        return f"id = {value}"
    if takedown.kind == "url":
        return f"url = {value}" if "url" in columns else "false"
    tests = []
    if "url" in columns:
        host = f"lower(regexp_extract(url, {quote(HOST)}, 1))"
        tests += [f"{host} = {value}", f"ends_with({host}, '.' || {value})"]
    if "domain" in columns:
        tests += [f"domain = {value}", f"ends_with(domain, '.' || {value})"]
    return " OR ".join(tests) or "false"


def _made_from(ws: Workspace, held: pl.DataFrame) -> pl.DataFrame:
    """A row without id per model or release made, directly or through another model, from partitions that hold the rows."""
    tainted = {tuple(row) for row in held.select("asset", "partition", "data_version").unique().iter_rows()}
    found: list[Manifest] = []
    growing = True
    while growing:
        growing = False
        for asset in MADE_FROM:
            for manifest in ws.lake.manifests(asset):
                name = (manifest.asset, manifest.partition, manifest.data_version)
                made_from = {(item.asset, item.partition, item.data_version) for item in manifest.inputs}
                if name not in tainted and made_from & tainted:
                    tainted.add(name)
                    found.append(manifest)
                    growing = True
    return pl.DataFrame(
        [(item.asset, item.partition, item.data_version, "", "") for item in found], schema=HELD_SCHEMA, orient="row"
    )


def holdings(ws: Workspace) -> list[Holding]:
    """What still holds something that was taken down: partitions in data-flow order that were not made again since."""
    held = ws.lake.takedowns.held()
    current = {
        (manifest.asset, manifest.partition, manifest.data_version): ref_of(manifest)
        for stage in STAGES
        for manifest in ws.lake.manifests(stage.asset)
    }
    order = [stage.asset for stage in STAGES]
    found = []
    for (takedown, asset, partition, version), rows in held.group_by(
        "takedown", "asset", "partition", "data_version", maintain_order=True
    ):
        if (asset, partition, version) in current:
            ids = rows.filter(pl.col("id") != "")["id"].n_unique()
            found.append(Holding(str(takedown), str(asset), str(partition), ids))
    return sorted(found, key=lambda item: (item.takedown, order.index(item.asset), item.partition))
