"""Asset checks: conservation, non-emptiness, schema; of extracted pairs, that they are their page's own text. They re-read what is published, so each can be run alone.

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

from webinstruct_assets.assets.publishing import key_of
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.pages import PAGES


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
