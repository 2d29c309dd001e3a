"""The report's figures: bars per benchmark as in the paper's Figure 1, scores by rows of training data as in its Figure 5.

In: results and published numbers. Out: ``Figure`` records, each as SVG (which follows the reader's light or dark theme)
and as PNG. The same numbers give the same bytes.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webinstruct_assets.stages.results.published import MAIN, PAPER_NAMES, Paper, PublishedModel
from webinstruct_assets.stages.results.scores import Results, Score, benchmark_order
from webinstruct_assets.stages.results.tables import NONE, percent, printed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#1b2a41"  # stands for the theme's text colour in an SVG
THEME = "<style>svg{color:#1b1f24}@media (prefers-color-scheme:dark){svg{color:#e4e7eb}}</style>"  # in an <img>, too
OURS, BASE, OTHERS, PAPERS = "#2f6fb5", "#e0912f", "#a9b1ba", "#7b838c"
SERIES = ("#2f6fb5", "#e0912f", "#3f9b63", "#b5478a", "#7a5cc0", "#8a8f2a")
LABEL = 36  # characters of a model's name beside its bar
COLORS = 64  # of a PNG: a palette makes it a third as large, and looks the same


@dataclass(frozen=True)
class Figure:
    """``alt``: what it shows, in words with the numbers."""

    name: str
    title: str
    alt: str
    svg: bytes
    png: bytes


def figures(found: Results, paper: Paper, others: Sequence[PublishedModel]) -> list[Figure]:
    """A bar chart per benchmark; a curve per benchmark of the scaling recipes."""
    models = {model.recipe for group in found.groups(MAIN) for model in group}
    drawn = []
    for benchmark in sorted({score.benchmark for score in found.scores}, key=benchmark_order):
        scores = [score for score in found.scores if score.benchmark == benchmark]
        if main := [score for score in scores if score.recipe in models]:
            drawn.append(_bars(benchmark, main, paper, [one for one in others if one.in_charts]))
        bases = {model.recipe for group in found.groups("scaling") for model in group if model.is_base}
        if scaling := [score for score in scores if score.model.family == "scaling" and score.rows is not None]:
            drawn.append(_curves(benchmark, scaling, [score for score in scores if score.recipe in bases], paper))
    return drawn


def _bars(benchmark: str, scores: Sequence[Score], paper: Paper, others: Sequence[PublishedModel]) -> Figure:
    """Ours by the corrected grader with intervals, the paper-compatible grader and the paper itself as marks."""
    ours = sorted(scores, key=lambda score: (score.model.base_model, not score.model.is_base, score.recipe))
    # A sample, or another judge, is another scale: published scores stand beside the same setting only.
    same = all(score.is_whole and score.judge == paper.judges.get(benchmark) for score in ours)
    published = sorted(
        ((one.scores[benchmark], one.model) for one in others if same and benchmark in one.scores),
        key=lambda pair: (-pair[0], pair[1]),
    )
    labels = [score.recipe for score in ours] + [f"{_short(name)} (published)" for _, name in published]
    measured = [shown for score in ours if (shown := score.shown("corrected"))]
    unit, best = (measured[0].unit, measured[0].best) if measured else ("per cent right", 100)
    said = [f"{score.recipe} {shown.text() if (shown := score.shown('corrected')) else NONE}" for score in ours]
    said += [f"{name} {value} (published)" for value, name in published]

    def paint(axes: "Axes") -> None:
        for place, score in enumerate(ours):
            shown = score.shown("corrected")
            if shown is None:
                continue
            axes.barh(
                place, shown.value, color=BASE if score.model.is_base else OURS, height=0.7,
                xerr=[[max(0.0, shown.value - shown.low)], [max(0.0, shown.high - shown.value)]],
                error_kw={"ecolor": INK, "capsize": 3, "elinewidth": 1},
            )  # fmt: skip
            as_paper = score.shown("paper") if score.judge is None else None
            if as_paper:
                axes.plot(as_paper.value, place, marker="|", markersize=11, markeredgewidth=2, color=INK)
            number = printed(paper, MAIN, score)
            if number:
                axes.plot(number.value, place, marker="D", markersize=5, color=PAPERS)
        for place, (value, _) in enumerate(published, start=len(ours)):
            axes.barh(place, value, color=OTHERS, height=0.7)
            axes.text(value, place, f" {value}", va="center", fontsize=7, color=PAPERS)
        axes.set_yticks(range(len(labels)), labels, parse_math=False)  # names are no TeX
        axes.invert_yaxis()
        axes.set_xlim(0, best)
        axes.set_xlabel(f"{unit} (95 % interval; | paper-compatible grader, ◆ the paper's number)")

    title = PAPER_NAMES.get(benchmark, benchmark)
    return _drawn(
        f"bars-{benchmark}", title, f"Bar chart of {title}, {unit}: {'; '.join(said)}.", paint, 1.1 + 0.27 * len(labels)
    )


def _curves(benchmark: str, scores: Sequence[Score], bases: Sequence[Score], paper: Paper) -> Figure:
    """Score by rows of training data, a line per kind of rows and loss; the base models as horizontal lines."""
    series: dict[str, list[Score]] = {}
    for score in sorted(scores, key=lambda score: (score.rows or 0, score.recipe)):
        series.setdefault(score.model.trained_on, []).append(score)
    said = [
        f"{name}: {', '.join(f'{score.rows:,} rows {percent(_value(score))} %' for score in line)}"
        for name, line in sorted(series.items())
    ]

    def paint(axes: "Axes") -> None:
        in_paper: str | None = "the paper's"
        for (name, line), color in zip(sorted(series.items()), SERIES * len(series), strict=False):
            shares = [(score.rows or 0, share) for score in line if (share := score.share("corrected"))]
            axes.errorbar(
                [rows for rows, _ in shares],
                [100 * share.value for _, share in shares],
                yerr=[
                    [100 * max(0.0, share.value - share.low) for _, share in shares],
                    [100 * max(0.0, share.high - share.value) for _, share in shares],
                ],
                marker="o", markersize=4, capsize=3, linewidth=1.5, elinewidth=0.8, color=color, label=name,
            )  # fmt: skip
            theirs = [(score.rows or 0, number.value) for score in line if (number := printed(paper, "scaling", score))]
            if theirs:
                axes.plot(
                    *zip(*theirs, strict=True), marker="D", markersize=4, linestyle=":", color=PAPERS, label=in_paper
                )
                in_paper = None  # named once
        for score in bases:
            axes.axhline(100 * _value(score), color=BASE, linestyle="--", linewidth=1, label=score.recipe)
        axes.set_xlabel("rows of training data")
        axes.set_ylabel("per cent of the best score" if scores[0].judge else "per cent right")
        axes.legend(fontsize=7, frameon=False, labelcolor=INK)

    title = f"{PAPER_NAMES.get(benchmark, benchmark)} by rows of training data"
    return _drawn(f"scaling-{benchmark}", title, f"Line chart, {title}. {'; '.join(said)}.", paint, 3.4)


def _short(name: str) -> str:
    return name if len(name) <= LABEL else name[: LABEL - 1] + "…"


def _value(score: Score) -> float:
    share = score.share("corrected")
    return share.value if share else 0.0


def _drawn(name: str, title: str, alt: str, paint: Callable[["Axes"], None], height: float) -> Figure:
    import matplotlib
    from matplotlib.figure import Figure as Canvas
    from PIL import Image

    # A fixed salt for the ids in an SVG and no date: the file is a function of the numbers.
    look = {
        "svg.hashsalt": "webinstruct", "svg.fonttype": "none", "font.size": 8, "axes.spines.top": False,
        "axes.spines.right": False,
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    }  # fmt: skip
    with matplotlib.rc_context(look):
        canvas = Canvas(figsize=(6.4, height), dpi=110, layout="constrained")
        axes = canvas.add_subplot()
        paint(axes)
        axes.set_title(title, fontsize=10)
        bitmap, vector, small = io.BytesIO(), io.BytesIO(), io.BytesIO()
        canvas.savefig(bitmap, format="png", metadata={"Software": None})
        canvas.savefig(vector, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    Image.open(bitmap).convert("RGB").quantize(COLORS).save(small, format="png", optimize=True)
    svg = vector.getvalue().decode().replace(INK, "currentColor")
    head, end, body = svg.partition("<defs>")
    return Figure(name, title, alt, f"{head}{THEME}{end}{body}".encode(), small.getvalue())
