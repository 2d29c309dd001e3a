"""Asset ``results_report``: the paper's tables and figures from whatever was measured.

In: every partition of ``benchmark_scores`` that there is, with the manifests above it; the paper's numbers and those of
other models. Out, as files: ``report.html`` (self-contained), ``report.md``, a ``.tex`` for every table, ``scores.csv``,
``comparisons.csv``, ``costs.csv``, the figures as SVG and PNG, and ``verdicts.parquet``. The same manifests give the
same bytes; nothing is filled in where nothing was measured.

``verdicts.parquet`` holds who was right on which item, also for data versions that earlier reports saw and the lake has
replaced since: so a benchmark's difference between any two versions of the data can be told after the old one is gone.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from webinstruct_assets.core.config import settings_of
from webinstruct_assets.core.errors import MissingInput
from webinstruct_assets.core.ids import digest_json, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import ref_of, write_atomically, write_table
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.release.ancestry import ancestors
from webinstruct_assets.stages.results.comparison import VERDICTS, VERSION, Comparison, comparisons, verdicts
from webinstruct_assets.stages.results.costs import costs
from webinstruct_assets.stages.results.figures import Figure, figures
from webinstruct_assets.stages.results.published import Paper, PublishedModel, other_models, paper
from webinstruct_assets.stages.results.render import comma_separated, html, latex, markdown
from webinstruct_assets.stages.results.scores import Measured, Results, Score, results
from webinstruct_assets.stages.results.tables import (
    Table,
    comparison_table,
    cost_table,
    detail_table,
    missing_bases,
    printed,
    score_tables,
)

PREFIX = "rr"
KEPT = "verdicts.parquet"
# One row per partition of benchmark_scores. id: rr-…      parent_id: "" (a score has no one row above it)
# accuracy, delta and what begins with them: the corrected grader's, of a judged benchmark shares of the best score      paper_…: the paper-compatible grader's
# shown…: as it is printed, of a judged benchmark what its protocol publishes; unit: in which      clean_…: without contaminated items
#     published: the paper's number for the same setting, per cent
# data_version: of the training set (null: replaced since, "": a base model)      training_rows: its rows
_MEASURED = (
    "accuracy",
    "delta",
    "clean_accuracy",
    "clean_delta",
    "paper_accuracy",
    "paper_delta",
    "clean_paper_accuracy",
)
SCHEMA: dict[str, Any] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "recipe": pl.String(),
    "benchmark": pl.String(),
    "family": pl.String(),
    "base_model": pl.String(),
    "base_recipe": pl.String(),
    "shots": pl.Int64(),
    "items": pl.Int64(),
    "items_in_benchmark": pl.Int64(),
    "contaminated_items": pl.Int64(),
    "unparsed": pl.Int64(),
    **{f"{name}{end}": pl.Float64() for name in _MEASURED for end in ("", "_low", "_high")},
    "unit": pl.String(),
    **{f"shown{end}": pl.Float64() for end in ("", "_low", "_high")},
    "published": pl.Float64(),
    "data_version": pl.String(),
    "training_rows": pl.Int64(),
}


def run(job: Job) -> None:
    """Reads what is there, writes the files, then a row per score."""
    ws = job.ws
    found = results(ws, job.manifests("benchmark_scores"))
    if not found.scores:
        raise MissingInput(
            "results_report: no partition of benchmark_scores is there", "evaluate a recipe first, then make the report"
        )
    theirs, others = paper(ws), other_models(ws)
    rows = verdicts(ws.lake, found, _earlier(ws))
    compared, spent = comparisons(rows), costs(ws.lake, found, ws.config.costs)
    current = frozenset(score.data_version for score in found.scores if score.data_version)
    tables = score_tables(ws.lake, found, theirs)
    tables += [missing] if (missing := missing_bases(found)) else []
    more = [cost_table(spent), comparison_table(compared, current), detail_table(found)]
    drawn = figures(found, theirs, others)
    records = [_record(score, theirs) for score in found.scores]

    files = {f"{table.name}.tex": latex(table).encode() for table in [*tables, *more]}
    files["scores.csv"] = comma_separated([_without_ids(record) for record in records]).encode()
    files["comparisons.csv"] = comma_separated([_flat(item) for item in compared]).encode()
    files["costs.csv"] = comma_separated([asdict(item) for item in spent]).encode()
    for figure in drawn:
        files |= {f"{figure.name}.svg": figure.svg, f"{figure.name}.png": figure.png}
    files["report.md"] = "\n".join(markdown(table) for table in [*tables, *more]).encode()
    files["report.html"] = _page(ws, found, tables, more, drawn, theirs, others).encode()
    for name, data in files.items():
        write_atomically(job.folder / name, data)
    write_table(job.folder / KEPT, rows)

    job.unit("00000", lambda: Unit(rows=records, rows_in=len(records)))
    job.metrics |= {
        "recipes": len(found.evaluated),
        "benchmarks": len(_benchmarks(found)),
        "scores_without_base": len(found.without_delta),
        "comparisons": len(compared),
        "significant": sum(item.is_significant for item in compared),
        "figures": [figure.name for figure in drawn],
        "versions": [list(version) for version in rows.select(VERSION).unique().sort(VERSION).iter_rows()],
        "costs": [asdict(item) for item in spent],
        "prices": settings_of(ws.config.costs),
    }


def _earlier(ws: Workspace) -> pl.DataFrame:
    """Verdicts that the report of before kept; null in columns that it did not know."""
    before = ws.lake.manifest(Ref("results_report", PartitionKey.of({})))
    empty = pl.DataFrame(schema=VERDICTS)
    if before is None or not (path := ws.lake.file(before, KEPT)).exists():
        return empty
    return pl.concat([empty, pl.read_parquet(path)], how="diagonal").select(list(VERDICTS))


def _page(
    ws: Workspace,
    found: Results,
    tables: Sequence[Table],
    more: Sequence[Table],
    drawn: Sequence[Figure],
    theirs: Paper,
    others: Sequence[PublishedModel],
) -> str:
    charts = {
        "name": "charts",
        "title": "Beside other models",
        "caption": "Ours in blue, base models in orange, by the corrected grader; published scores in grey (sources below).",
        "tables": [],
        "figures": [figure for figure in drawn if figure.name.startswith("bars-")],
    }
    curves = [figure for figure in drawn if figure.name.startswith("scaling-")]
    sections = [
        {"name": table.name, "title": table.title, "caption": table.caption, "tables": [table],
         "figures": curves if table.name == "scaling-corrected" else []}
        for table in [*tables, *more]
    ]  # fmt: skip
    sections.insert(sum(table.name.startswith("main-") for table in tables), charts)
    lead = [
        f"Environment {ws.config.environment}. Recipes: {len(found.evaluated)}, benchmarks: {len(_benchmarks(found))},"
        f" scores: {len(found.scores)}.",
        "Per cent of items answered right, 95 % intervals, Δ in percentage points over the base model on the same items."
        " — stands for what was not measured; where a base model was not, a table says what to materialize. The paper's numbers are grey, and stand only beside the same recipe,"
        " benchmark and shots over all items. Numbers lead to their partition in Dagster.",
    ]
    shown = sorted(
        {(one.source, one.model) for one in others if one.in_charts and set(one.scores) & _benchmarks(found)}
    )
    sources = [f"Grey numbers: {theirs.citation}", *(f"{model}: {source}" for source, model in shown)]
    return html("Results", lead, sections, ws.config.results.dagster_url, sources)


def _benchmarks(found: Results) -> set[str]:
    return {score.benchmark for score in found.scores}


def _record(score: Score, theirs: Paper) -> dict[str, Any]:
    measured: dict[str, Measured | None] = {
        "accuracy": score.share("corrected"),
        "delta": score.delta("corrected"),
        "clean_accuracy": score.share("corrected", clean=True),
        "clean_delta": score.delta("corrected", clean=True),
        "paper_accuracy": score.share("paper"),
        "paper_delta": score.delta("paper"),
        "clean_paper_accuracy": score.share("paper", clean=True),
    }
    model, metrics = score.model, score.manifest.metrics
    number, shown = printed(theirs, model.family, score), score.shown("corrected")
    return {
        "id": row_id(PREFIX, score.benchmark, score.recipe),
        "parent_id": "",
        "recipe": score.recipe,
        "benchmark": score.benchmark,
        "family": model.family,
        "base_model": model.base_model,
        "base_recipe": model.base,
        "shots": score.shots,
        "items": score.items,
        "items_in_benchmark": int(metrics["items_in_benchmark"]),
        "contaminated_items": metrics["contaminated_items"],
        "unparsed": int(metrics["unparsed"]),
        **{
            f"{name}{end}": getattr(value, part) if value else None
            for name, value in measured.items()
            for end, part in (("", "value"), ("_low", "low"), ("_high", "high"))
        },
        "unit": shown.unit if shown else None,
        "shown": shown.value if shown else None,
        "shown_low": shown.low if shown else None,
        "shown_high": shown.high if shown else None,
        "published": number.value if number else None,
        "data_version": score.data_version,
        "training_rows": score.rows,
    }


def _without_ids(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("id", "parent_id")}


def _flat(item: Comparison) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in asdict(item).items():
        if isinstance(value, dict):
            flat |= {f"{name}_delta": value["delta"]["value"], f"{name}_low": value["delta"]["low"],
                     f"{name}_high": value["delta"]["high"], f"{name}_p": value["p"]}  # fmt: skip
        else:
            flat[name] = value
    return flat


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """Whatever scores there are now."""
    return [ref_of(manifest) for manifest in ws.lake.manifests("benchmark_scores")]


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """What the report says beside the scores: recipes, prices, published numbers, what the checkpoints cost (their ancestors'
    manifests), and data versions that only the report still knows.
    """
    scores = ws.lake.manifests("benchmark_scores")
    above = [
        ws.lake.manifest_sha256(ref_of(item))
        for item in ancestors(ws.lake, scores, whole=False)
        if item.asset != "benchmark_scores"
    ]
    before = ws.lake.manifest(Ref("results_report", PartitionKey.of({})))
    current = {(score.benchmark, score.recipe, score.data_version) for score in results(ws, scores).scores}
    known = {tuple(version) for version in before.metrics["versions"]} if before else set()
    return {
        "environment": ws.config.environment,
        "recipes": digest_json({name: recipe.model_dump(mode="json") for name, recipe in ws.files.recipes.items()})[
            :16
        ],
        "active": {"recipes": ws.config.recipes, "benchmarks": ws.config.benchmarks},
        "costs": settings_of(ws.config.costs),
        "dagster_url": ws.config.results.dagster_url,
        "published": digest_json([settings_of(paper(ws)), [settings_of(one) for one in other_models(ws)]])[:16],
        "made_from": digest_json(above)[:16],
        "replaced_versions": [list(version) for version in sorted(known - current, key=str)],
    }


RESULTS_REPORT = Stage(
    asset="results_report",
    dimensions=(),
    whole=True,
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=("stages/results/*", "core/markdown.py", "stages/release/ancestry.py", "stages/sft/recipes.py"),
)
