"""The report's tables, before any format: cells with a number, small notes under it, and the paper's number in grey.

In: results, comparisons, costs, the paper's numbers. Out: ``Table`` records. A cell that was not measured is ``MISSING``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from webinstruct_assets.core.intervals import bootstrap
from webinstruct_assets.core.lake import Lake
from webinstruct_assets.stages.results.comparison import Comparison, Difference
from webinstruct_assets.stages.results.costs import Cost
from webinstruct_assets.stages.results.published import AVERAGE, MAIN, PAPER_NAMES, REASONING, Paper, PaperNumber
from webinstruct_assets.stages.results.scores import Grader, Measured, Model, Results, Score, Shown

NONE = "—"
MINUS = "\N{MINUS SIGN}"
MODEL_TITLES: dict[str, tuple[str, str]] = {
    MAIN: ("Main results", "Models and benchmarks, as in the paper's Table 2."),
    "scaling": ("Scaling", "Rows of training data, by kind of rows and loss, as in the paper's Figure 5."),
    "refiners": ("Refiners", "The same steps on what one, the other and both refiners made, as in the paper's Table 4."),
    "subsets": ("Domains and sources", "The same steps on a part of the data, as in the paper's Table 5."),
    "extractors": ("Extraction", "The same steps on pairs that different models and rules extracted."),
    "public": ("Public sets only", "Models that never saw the web's pairs, as in the paper's appendix E."),
    "ablation": ("Steps of the pipeline", "Recalled pages (a), extracted (b) and refined (c) pairs, public sets (d), as in "
                 "the paper's Table 6."),
}  # fmt: skip
OF_JUDGED = " % of the best score"  # what a judged set has besides the number that its protocol publishes
GRADER_TITLES: dict[Grader, str] = {"corrected": "corrected grader", "paper": "paper-compatible grader"}


@dataclass(frozen=True)
class Cell:
    """``text``, under it ``notes``, then ``paper`` in grey. ``link``: an address below Dagster's."""

    text: str
    notes: tuple[str, ...] = ()
    paper: str = ""
    link: str = ""


MISSING = Cell(NONE)


@dataclass(frozen=True)
class Table:
    """``name`` is that of its files. The first column holds row heads; ``numeric``: whether the others are numbers."""

    name: str
    title: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]] = field(default_factory=list)


def link(asset: str, partition: str) -> str:
    """Where Dagster's UI shows a partition."""
    return f"/assets/{asset}?view=partitions&partition={quote(partition, safe='')}"


def percent(share: float | None) -> str:
    """A share as per cent with one decimal."""
    return NONE if share is None else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, signed."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def interval(measured: Measured) -> str:
    """A share's interval."""
    return f"{percent(measured.low)}–{percent(measured.high)}"


def gain(measured: Measured) -> str:
    """A difference with its interval."""
    return f"{points(measured.value)} ({points(measured.low)} to {points(measured.high)})"


def score_tables(lake: Lake, found: Results, paper: Paper) -> list[Table]:
    """Per family, and for each grader, models × benchmarks; the main family first."""
    tables = []
    for family in found.families():
        title, caption = MODEL_TITLES.get(family, (family, ""))
        groups = found.groups(family)
        models = [model for group in groups for model in group]
        columns = found.columns(family)
        with_average = set(columns) >= set(REASONING)
        heads = [
            "Model",
            *(PAPER_NAMES.get(name, name) for name in columns),
            *(["Average of 7"] if with_average else []),
        ]
        for grader in GRADER_TITLES:
            rows = [
                [
                    Cell(model.recipe, (model.base_model if model.is_base else model.description,)),
                    *(_cell(found, paper, family, grader, model, benchmark) for benchmark in columns),
                    *([_average(lake, found, paper, family, grader, model)] if with_average else []),
                ]
                for model in models
            ]
            tables.append(Table(f"{family}-{grader}", f"{title}, {GRADER_TITLES[grader]}", caption, heads, rows))
    return tables


def _cell(found: Results, paper: Paper, family: str, grader: Grader, model: Model, benchmark: str) -> Cell:
    score = found.by_cell.get((model.recipe, benchmark))
    shown = score.shown(grader) if score else None
    if score is None or shown is None:
        return MISSING
    notes = [shown.interval] if score.judge is None else [shown.interval, shown.unit]
    of_what = OF_JUDGED if score.judge else ""
    if not model.is_base:
        delta = score.delta(grader)
        notes.append(f"Δ {gain(delta) if delta else NONE}{of_what}")
    if 0 < score.clean_items < score.items:
        clean = score.share(grader, clean=True)
        notes.append(f"uncontaminated {percent(clean.value if clean else None)}{of_what}, {score.clean_items:,} items")
    notes.append(f"{score.items:,} items")
    if grader == "paper" and score.judge is None:
        corrected = score.share("corrected")
        notes.append(f"corrected {percent(corrected.value if corrected else None)}")
    theirs = printed(paper, family, score) if grader == "paper" else None
    where = link("benchmark_scores", score.manifest.partition)
    return Cell(shown.text(), tuple(notes), _grey(theirs, shown), where)


def printed(paper: Paper, family: str, score: Score) -> PaperNumber | None:
    """The paper's number where the setting is the same: recipe, benchmark, shots, judge if there is one, and all items."""
    same = score.is_whole and paper.shots.get(score.benchmark) == score.shots
    same = same and paper.judges.get(score.benchmark) == score.judge
    return paper.number(family, score.recipe, score.benchmark) if same else None


def _grey(number: PaperNumber | None, shown: Shown) -> str:
    return f"paper {'≈ ' if number.approximate else ''}{shown.text(number.value)}" if number else ""


def _average(lake: Lake, found: Results, paper: Paper, family: str, grader: Grader, model: Model) -> Cell:
    """The mean over the paper's seven benchmarks, only where all of them were measured."""
    scores = [score for name in REASONING if (score := found.by_cell.get((model.recipe, name)))]
    shares = [share for score in scores if (share := score.share(grader))]
    if len(shares) < len(REASONING):
        return MISSING
    column = "correct" if grader == "corrected" else "paper_correct"
    rows = {score.benchmark: lake.read(score.manifest) for score in scores}
    low, high = bootstrap({name: frame[column].cast(int).to_list() for name, frame in rows.items()})
    notes = []
    deltas = [delta for score in scores if (delta := score.delta(grader))]
    if len(deltas) == len(REASONING):
        gained = {
            name: (frame[column].cast(int) - frame[f"base_{column}"].cast(int)).drop_nulls()
            for name, frame in rows.items()
        }
        bounds = bootstrap({name: values.to_list() for name, values in gained.items()})
        notes.append(f"Δ {gain(Measured(sum(delta.value for delta in deltas) / len(deltas), *bounds))}")
    elif not model.is_base:
        notes.append(f"Δ {NONE}")
    same = all(printed(paper, family, score) is not None for score in scores)
    theirs = paper.number(family, model.recipe, AVERAGE) if grader == "paper" and same else None
    mean = sum(share.value for share in shares) / len(shares)
    shown = Shown(100 * mean, 100 * low, 100 * high)
    return Cell(shown.text(), (shown.interval, *notes), _grey(theirs, shown))


def detail_table(found: Results) -> Table:
    """Every score by both graders, with what could not be read and what is contaminated."""
    heads = ["Recipe", "Benchmark", "Items", "Corrected", "Paper-compatible", "Without contaminated", "Contaminated",
             "No answer read", "Training rows", "Data version"]  # fmt: skip
    rows = []
    for score in found.scores:
        metrics = score.manifest.metrics
        shares = [score.share("corrected"), score.share("paper"), score.share("corrected", clean=True)]
        rows.append(
            [
                Cell(score.recipe, link=link("benchmark_scores", score.manifest.partition)),
                Cell(score.benchmark),
                Cell(f"{score.items:,}"),
                *(Cell(percent(share.value), (interval(share),)) if share else MISSING for share in shares),
                MISSING if metrics["contaminated_items"] is None else Cell(f"{metrics['contaminated_items']:,}"),
                Cell(f"{metrics['unparsed']:,}"),
                MISSING if score.rows is None else Cell(f"{score.rows:,}"),
                Cell(score.data_version, link=link("sft_dataset", score.recipe)) if score.data_version else MISSING,
            ]
        )
    caption = "Per cent right with 95 % intervals (Wilson's); of judged sets per cent of the best score, by bootstrap."
    return Table("details", "All scores", caption, heads, rows)


def missing_bases(found: Results) -> Table | None:
    """Scores without a Δ, and what to materialize so that they have one; None where there are none."""
    rows = []
    for score in found.without_delta:
        model, own = score.model, f"benchmark_scores/{score.manifest.partition}"
        if model.base is None:
            steps = (
                f"add a recipe with `base_model: {model.base_model}` and `steps: 0`, materialize its benchmark_scores"
            )
        elif (model.base, score.benchmark) in found.by_cell:
            steps = "the base model was evaluated after it"
        else:
            steps = f"materialize base scores: benchmark_scores/{score.benchmark}|{model.base}"
        rows.append(
            [
                Cell(score.recipe, link=link("benchmark_scores", score.manifest.partition)),
                Cell(score.benchmark),
                Cell(model.base or NONE, (model.base_model,)),
                Cell(f"{steps}, then {own} again (answers that were given come from the ledger)"),
            ]
        )
    caption = "These scores have no Δ, since their base model was not evaluated when they were made."
    return (
        Table("missing-bases", "Base scores that are missing", caption, ["Recipe", "Benchmark", "Base", "To do"], rows)
        if rows
        else None
    )


def comparison_table(found: Sequence[Comparison], current: frozenset[str]) -> Table:
    """Differences between data versions. ``current``: versions that the lake still has."""
    heads = ["From", "To", "Benchmark", "Items", "Δ corrected", "p", "p (Holm)", "Δ paper-compatible", "Differs in"]
    rows = [
        [
            _version(item.recipe_a, item.version_a, current),
            _version(item.recipe_b, item.version_b, current),
            Cell(item.benchmark),
            Cell(f"{item.items:,}"),
            Cell(
                f"{points(item.corrected.delta.value)}{'*' if item.is_significant else ''}", (_bounds(item.corrected),)
            ),
            Cell(_p(item.corrected.p)),
            Cell(_p(item.p_holm)),
            Cell(points(item.paper.delta.value), (_bounds(item.paper), f"p {_p(item.paper.p)}")),
            Cell(item.differs or "nothing recorded"),
        ]
        for item in found
    ]
    caption = (
        "Percentage points on the same items, 95 % intervals and two-sided p by the paired bootstrap over items; Holm's p is"
        f" adjusted for all {len(found):,} comparisons, * marks it below 0.05. A version that the lake has replaced since is"
        " compared by the verdicts that an earlier report kept. Judged sets: per cent of the best score. Differs in: the training data, the settings of the"
        " training, the protocol of the evaluation."
    )
    return Table("data-versions", "Between data versions", caption, heads, rows)


def _version(recipe: str, version: str, current: frozenset[str]) -> Cell:
    notes = (version, *(() if version in current else ("replaced since",)))
    return Cell(recipe, notes, link=link("sft_dataset", recipe))


def _bounds(difference: Difference) -> str:
    return f"{points(difference.delta.low)} to {points(difference.delta.high)}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def cost_table(found: Sequence[Cost]) -> Table:
    """What a checkpoint cost with its data, and per point gained."""
    heads = ["Recipe", "CPU-seconds", "GPU-seconds", "Tokens in", "Tokens out", "Dollars", "Points gained",
             "Dollars per point", "CPU-seconds per point", "GPU-seconds per point", "Tokens out per point"]  # fmt: skip
    rows = []
    for item in found:
        per_point = [
            item.per_point(amount) for amount in (item.dollars, item.cpu_seconds, item.gpu_seconds, item.tokens_out)
        ]
        gained = MISSING if item.points is None else Cell(
            points(item.points / 100), (f"mean over {item.benchmarks} benchmark{'s' if item.benchmarks > 1 else ''}",)
        )  # fmt: skip
        none = MISSING if item.points is None else Cell("no gain")
        rows.append(
            [
                Cell(item.recipe, link=link("trained_checkpoint", item.recipe)),
                Cell(f"{item.cpu_seconds:,.1f}"),
                Cell(f"{item.gpu_seconds:,.1f}"),
                Cell(f"{item.tokens_in:,}"),
                Cell(f"{item.tokens_out:,}"),
                Cell(f"{item.dollars:,.4f}"),
                gained,
                *(none if value is None else Cell(f"{value:,.4f}" if index == 0 else f"{value:,.1f}")
                  for index, value in enumerate(per_point)),
            ]
        )  # fmt: skip
    caption = (
        "Everything above a checkpoint: crawl to data set, and training; evaluation is no part of it. Prices are the"
        " environment's. GPU-seconds: wall-clock of stages that asked a model times the GPUs that serve it, and of"
        " training on GPUs. Points: by the corrected grader (of judged sets, per cent of the best score), over the base model."
    )
    return Table("costs", "Cost per point gained", caption, heads, rows)
