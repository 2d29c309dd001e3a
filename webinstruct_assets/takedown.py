"""Recording a takedown: which rows of the lake hold it, and which models were trained on them.

In: a domain, a URL, or the id of a pair or of anything below one. Out: a line in the journal, with the rows beside it.
Nothing is deleted here: the next materialization of a partition leaves the rows out.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import polars as pl

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.manifest import Manifest, Part
from webinstruct_assets.core.progress import Progress
from webinstruct_assets.core.takedown import HELD_SCHEMA, Takedown, folded_pair, of_places
from webinstruct_assets.core.urls import host_of
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import BY_ASSET, STAGES
from webinstruct_assets.trace import Tracer

READERS = 8  # parts at a time
WHOLE = [stage.asset for stage in STAGES if stage.whole]  # no row of these can be left out, they have to be made again


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
    pairs = [step.id for step in chain if BY_ASSET[step.asset].begins_pairs]
    if not pairs:
        raise BadInput(f"{value} is a row of {chain[0].asset}, above pairs", "take down its URL or its domain instead")
    return pairs[0]


def _held(ws: Workspace, takedown: Takedown, progress: Progress) -> pl.DataFrame:
    """Rows that match, and all that descend from them, in data-flow order; then the models made from any of these.

    Only ids and places are read of what does not match.
    """
    named = {kind: [takedown.value] if kind == takedown.kind else [] for kind in ("pair", "url", "domain")}
    found = [pl.DataFrame(schema=HELD_SCHEMA)]
    manifests = [(stage, manifest) for stage in STAGES for manifest in ws.lake.manifests(stage.asset)]
    progress.start(sum(len(manifest.parts) for _, manifest in manifests), "parts searched")
    for stage, manifest in manifests:
        columns = [name for name in ("id", "parent_id", "url", "domain") if name in stage.schema]
        above = pl.concat(found)["id"].unique()
        tests = [pl.col("parent_id").is_in(above.implode()), pl.col("id").is_in(named["pair"])]
        tests += of_places(columns, named["url"], named["domain"])
        taken = pl.any_horizontal(test.fill_null(False) for test in tests)
        texts = takedown.kind == "pair" and {"question", "answer"} <= set(stage.schema)
        with ThreadPoolExecutor(READERS) as pool:
            found += pool.map(partial(_held_in, ws, manifest, columns, taken, texts), manifest.parts)
        progress.advance(len(manifest.parts))
    held = pl.concat(found).unique().sort(pl.all())
    return pl.concat([held, _made_from(ws, held)])


def _held_in(
    ws: Workspace, manifest: Manifest, columns: Sequence[str], taken: pl.Expr, texts: bool, part: Part
) -> pl.DataFrame:
    rows = ws.lake.columns(manifest, part, columns).filter(taken).with_columns(pl.lit("").alias("text"))
    if texts and rows.height:
        pairs = ws.lake.columns(manifest, part, ["id", "question", "answer"])
        rows = pairs.filter(pl.col("id").is_in(rows["id"].implode()))
        rows = rows.with_columns(folded_pair("question", "answer").alias("text"))
    names = {"asset": manifest.asset, "partition": manifest.partition, "data_version": manifest.data_version}
    return rows.with_columns(pl.lit(value).alias(name) for name, value in names.items()).select(list(HELD_SCHEMA))


def _made_from(ws: Workspace, held: pl.DataFrame) -> pl.DataFrame:
    """A row without id per partition of a whole (a model, a release) that was made from partitions that hold the rows."""
    tainted = {tuple(row) for row in held.select("asset", "partition", "data_version").unique().iter_rows()}
    found: list[Manifest] = []
    growing = True
    while growing:
        growing = False
        for asset in WHOLE:
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
    order = [stage.asset for stage in STAGES]
    found = []
    for (takedown, asset, partition, version), rows in held.group_by(
        "takedown", "asset", "partition", "data_version", maintain_order=True
    ):
        if asset not in BY_ASSET:  # of a recall round that this environment does not have
            continue
        key = PartitionKey.parse(BY_ASSET[str(asset)].dimensions, str(partition))
        current = ws.lake.readable(Ref(str(asset), key))
        if current and current.data_version == version:
            ids = rows.filter(pl.col("id") != "")["id"].n_unique()
            found.append(Holding(str(takedown), str(asset), str(partition), ids))
    return sorted(found, key=lambda item: (item.takedown, order.index(item.asset), item.partition))
