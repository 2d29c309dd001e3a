"""Asset checks: conservation, non-emptiness, schema, staleness; of extracted pairs, that they are their page's own text. They re-read what is published, so each can be run alone.

For display and alerts only: across runs Dagster does not stop downstream work on a failed blocking check, so
whatever must not be published is refused inside the stage, before its manifest is written.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from webinstruct_assets.assets.metadata import table
from webinstruct_assets.assets.publishing import key_of
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.graph import BY_ASSET, STAGES, State, States
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.status import refs_of

STALENESS = [dg.AssetCheckKey(dg.AssetKey(stage.asset), "up_to_date") for stage in STAGES]
SHOWN = 50  # partitions that a check's metadata lists


def checks_of(stage: Stage, partitions_def: dg.PartitionsDefinition[Any] | None) -> dg.AssetChecksDefinition:
    """The three checks of a stage's asset, one step, per partition (if it has any)."""
    names = ("conservation", "not_empty", "schema")
    with warnings.catch_warnings():  # partitioned checks are marked as preview in 1.13
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [dg.AssetCheckSpec(name, asset=stage.asset, partitions_def=partitions_def) for name in names]

    @dg.multi_asset_check(name=f"{stage.asset}_checks", specs=specs)
    def check(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> Iterator[dg.AssetCheckResult]:
        ws, key = workspace.open(), key_of(context, stage)
        manifest = ws.lake.require(stage.ref(key), "asset check")
        listed = sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in ws.lake.reject_paths(manifest))
        balanced = (
            manifest.rows_in == manifest.rows_kept + manifest.rejected_total and listed == manifest.rejected_total
        )
        yield dg.AssetCheckResult(
            check_name="conservation",
            asset_key=stage.asset,
            passed=balanced,
            metadata={
                "rows_in": manifest.rows_in,
                "rows_kept": manifest.rows_kept,
                "rejected": manifest.rejected_total,
                "reject_rows": listed,
            },
        )
        yield dg.AssetCheckResult(
            check_name="not_empty",
            asset_key=stage.asset,
            passed=manifest.rows > 0 or stage.may_be_empty(ws, key),
            metadata={"rows": manifest.rows},
        )
        wrong = [
            path.name for path in ws.lake.part_paths(manifest) if pl.read_parquet_schema(path) != dict(stage.schema)
        ]
        yield dg.AssetCheckResult(
            check_name="schema",
            asset_key=stage.asset,
            passed=not wrong,
            metadata={"parts_with_other_columns": wrong},
        )

    return check


@dg.multi_asset_check(
    name="staleness",
    specs=[
        dg.AssetCheckSpec(
            key.name,
            asset=key.asset_key,
            description="Every partition is what code, settings and inputs of today make.",
        )
        for key in STALENESS
    ],
    can_subset=True,
)
def staleness(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> Iterator[dg.AssetCheckResult]:
    """One result per asset over all of its partitions, from manifests: Dagster's own staleness ends at 100 of them.

    A partition whose state changed since the last look gets an observation, so its page in the UI tells it, too.
    """
    ws = workspace.open()
    states = States(ws)
    for key in sorted(context.selected_asset_check_keys, key=STALENESS.index):
        found = [states.of(ref) for ref in refs_of(ws, BY_ASSET[key.asset_key.to_user_string()])]
        made = [state for state in found if state.manifest]
        stale = [state for state in made if not state.up_to_date]
        for state in made:
            _observe(context, state)
        why = pl.DataFrame(
            [(str(state.ref.key), state.reason) for state in stale[:SHOWN]],
            schema={"partition": pl.String, "why": pl.String},
            orient="row",
        )
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not stale,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(stale):,} of {len(made):,} partitions are stale" if stale else None,
            metadata={
                "up_to_date": len(made) - len(stale),
                "stale": len(stale),
                "never_materialized": len(found) - len(made),
                **({"stale_partitions": dg.MetadataValue.md(table(why))} if stale else {}),
            },
        )


def _observe(context: dg.AssetCheckExecutionContext, state: State) -> None:
    """Records a partition's state as metadata, where it is another than the one recorded last."""
    asset, partition = dg.AssetKey(state.ref.asset), str(state.ref.key)
    text = "up to date" if state.up_to_date else f"stale: {state.reason}"
    last = _last_told(context.instance, dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[partition]))
    if text != (last or "up to date"):
        context.op_execution_context.log_event(
            dg.AssetObservation(asset, partition=partition, metadata={"staleness": text})
        )


def _last_told(instance: dg.DagsterInstance, filters: dg.AssetRecordsFilter) -> Any:
    """The newest staleness on record; builds leave observations of their own, of how far they are."""
    cursor = None
    while True:
        page = instance.fetch_observations(filters, limit=100, cursor=cursor)
        for record in page.records:
            if record.asset_observation and "staleness" in record.asset_observation.metadata:
                return record.asset_observation.metadata["staleness"].value
        if not page.has_more:
            return None
        cursor = page.cursor


def verbatim_check(partitions_def: dg.PartitionsDefinition[Any]) -> dg.AssetChecksDefinition:
    """Every pair is the text of its spans on its page; retyped pairs that are not there are listed."""
    with warnings.catch_warnings():  # partitioned checks are marked as preview in 1.13
        warnings.simplefilter("ignore", dg.PreviewWarning)

        @dg.asset_check(asset=EXTRACTED_QA.asset, name="verbatim", partitions_def=partitions_def)
        def verbatim(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
            ws, key = workspace.open(), key_of(context, EXTRACTED_QA)
            pages = ws.lake.require(PAGES.ref(key), "asset check")
            pairs = ws.lake.require(EXTRACTED_QA.ref(key), "asset check")
            texts = ws.lake.part_paths(ws.lake.source(pages, "asset check"))
            counts, examples = not_verbatim(texts, ws.lake.part_paths(pairs))
            return dg.AssetCheckResult(
                passed=not sum(counts.values()),
                severity=dg.AssetCheckSeverity.WARN if set(counts) <= {"llm_rewrite"} else dg.AssetCheckSeverity.ERROR,
                metadata={"pairs": pairs.rows, "not_verbatim": dict(counts), "examples": examples},
            )

    return verbatim


def not_verbatim(pages: Sequence[Path], pairs: Sequence[Path]) -> tuple[Counter[str], list[str]]:
    """How many pairs are not the joined text of their spans on their page, by rule, and some of their ids."""
    texts = pl.scan_parquet(list(pages), hive_partitioning=False).select("id", "text")
    counts: Counter[str] = Counter()
    examples: list[str] = []
    for path in pairs:  # part by part: a snapshot's texts need not fit into memory
        part = pl.scan_parquet(path, hive_partitioning=False)
        joined = part.join(texts, left_on="parent_id", right_on="id", how="left").collect(engine="streaming")
        for row in joined.iter_rows(named=True):
            if not row["text"] or not _is_verbatim(row):
                counts[row["rule"]] += 1
                examples += [row["id"]] if len(examples) < 5 else []
    return counts, examples


def _is_verbatim(row: dict[str, Any]) -> bool:
    return all(
        row[f"{name}_spans"]
        and row[name] == "\n".join(row["text"][span["start"] : span["end"]] for span in row[f"{name}_spans"])
        for name in ("question", "answer")
    )
