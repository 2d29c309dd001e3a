"""Plots of a materialization, as Markdown images with the PNG inside: the UI shows no local files.

matplotlib is imported when a plot is drawn, never when the code location loads.
"""

import base64
import io
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BYTES = 50_000  # an image lives in Dagster's event log
COLORS = 64


def draw(title: str, *paints: Callable[["Axes"], None], height: float = 3.2) -> str:
    """One figure (``height`` in inches), a panel per function, two beside each other, as Markdown with a data URI."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(6.4, height), dpi=90, layout="constrained")
    columns = min(2, len(paints))
    for place, paint in enumerate(paints, 1):
        paint(figure.add_subplot(-(-len(paints) // columns), columns, place))
    figure.suptitle(title, fontsize=10)
    drawn, stream = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    # A palette makes the image a third as large, and looks the same.
    Image.open(drawn).convert("RGB").quantize(COLORS).save(stream, format="png", optimize=True)
    if stream.tell() > MAX_BYTES:
        raise AssertionError(f"plot {title!r} has {stream.tell()} bytes, at most {MAX_BYTES} go into the event log")
    return f"![{title}](data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()})"


BINS = 40
MAX_POINTS = 5_000  # of a scatter plot: more are no clearer, and no smaller
MARKED_STEPS = 50  # of a training curve, beyond which its points are only a line


def score_histogram(ws: Workspace, manifest: Manifest) -> str:
    """Scores with the model's threshold, split by label where the rows have one. Counts without loading the rows."""
    paths = ws.lake.part_paths(ws.lake.source(manifest, "plot"))
    rows, threshold = pl.scan_parquet(paths, hive_partitioning=False), float(manifest.metrics["threshold"])
    labelled = "label" in rows.collect_schema()
    bins = (pl.col("score") * BINS).floor().clip(0, BINS - 1).cast(pl.Int32).alias("bin")
    label = pl.col("label") if labelled else pl.lit("recalled").alias("label")
    counts = {(kind, at): number for kind, at, number in rows.group_by(label, bins).len().collect().iter_rows()}

    def paint(axes: "Axes") -> None:
        edges, below = [at / BINS for at in range(BINS)], [0] * BINS
        for kind in ("negative", "positive") if labelled else ("recalled",):
            heights = [counts.get((kind, at), 0) for at in range(BINS)]
            axes.bar(edges, heights, width=1 / BINS, align="edge", bottom=below, label=kind)
            below = [low + height for low, height in zip(below, heights, strict=True)]
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:.3f}")
        axes.set_xlim(0, 1)
        axes.set_xlabel("probability of an instruction page")
        axes.set_ylabel("pages")
        axes.legend(fontsize=8)

    return draw("Held-out scores" if labelled else "Scores of recalled pages", paint)


def domain_rates(ws: Workspace, manifest: Manifest) -> str:
    """Recall rate against recalled pages, selected and dropped domains apart; of many domains, the largest."""
    frame = ws.lake.read(manifest).top_k(MAX_POINTS, by="recalled")

    def paint(axes: "Axes") -> None:
        for selected, color in ((True, "tab:green"), (False, "tab:red")):
            part = frame.filter(selected=selected)
            axes.scatter(
                part["recalled"].to_list(),
                part["recall_rate"].to_list(),
                s=16,
                color=color,
                label="selected" if selected else "dropped",
            )
        axes.set_xscale("log")
        axes.set_xlabel("recalled pages of the domain")
        axes.set_ylabel("recall rate")
        axes.legend(fontsize=8)

    return draw("Judged domains", paint)


def recall_funnel(ws: Workspace, manifest: Manifest) -> str | None:
    """Every step of the paper's funnel, by what is counted, on a logarithmic scale."""
    steps: list[dict[str, Any]] = manifest.metrics.get("funnel") or []
    if not steps:
        return None
    own = manifest.keys["snapshot"]
    names = [
        (f"{step['round']}: " if step["round"] else "")
        + step["step"]
        + (f" ({step['snapshot']})" if step["snapshot"] != own else "")
        for step in steps
    ]

    def paint(axes: "Axes") -> None:
        for of, color in (("pages", "tab:blue"), ("domains", "tab:orange"), ("tokens", "tab:gray")):
            places = [place for place, step in enumerate(steps) if step["of"] == of]
            axes.barh(places, [max(steps[place]["count"], 0.5) for place in places], color=color, label=of)
        for place, step in enumerate(steps):
            axes.text(max(step["count"], 0.5), place, f" {step['count']:,}", va="center", fontsize=7)
        axes.set_xscale("log")
        axes.set_xlim(0.5, 300 * max(step["count"] for step in steps) + 10)  # room for the numbers
        axes.minorticks_off()
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.invert_yaxis()
        axes.legend(fontsize=7, loc="upper right")

    return draw("From the crawl to located pages", paint, height=1.2 + 0.2 * len(steps))


MAX_REASONS = 4  # of a step: what has fewer rejects is "other"


def snapshot_funnel(ws: Workspace, manifest: Manifest) -> str:
    """What became of each step's records, as shares: the rows that came out, and rejects by reason."""
    steps: list[dict[str, Any]] = manifest.metrics["steps"]
    rejects: list[dict[str, Any]] = manifest.metrics["rejects"]

    def paint(axes: "Axes") -> None:
        from matplotlib import colormaps

        for place, step in enumerate(steps):
            total = max(step["records_in"], 1)
            own = [(item["reason"], item["records"]) for item in rejects if item["asset"] == step["asset"]]
            other = sum(count for _, count in own[MAX_REASONS:])
            kept = total - step["rejected"]
            axes.barh(place, kept / total, color="tab:blue")
            axes.text(0.01, place, f"{step['records_in']:,} in, {step['rows_out']:,} out", va="center", fontsize=7)
            left = kept / total
            shown = own[:MAX_REASONS] + ([("other", other)] if other else [])
            for number, (reason, count) in enumerate(shown):
                axes.barh(place, count / total, left=left, color=colormaps["OrRd"](0.65 - 0.12 * number))
                text, at = f"{reason} {count:,}", max(left, 0.28) + 0.01  # beside the step's own numbers
                if at + 0.011 * len(text) < left + count / total:
                    axes.text(at, place, text, va="center", fontsize=6)
                left += count / total
        axes.set_yticks(range(len(steps)), [step["asset"] for step in steps], fontsize=8)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the records that went in: blue led to output, the others were rejected", fontsize=8)
        axes.invert_yaxis()

    return draw(f"Funnel of {manifest.keys['snapshot']}", paint, height=1.2 + 0.32 * len(steps))


def training_curves(ws: Workspace, manifest: Manifest) -> str | None:
    """Loss, learning rate, gradient norm and tokens/s per step; None for a recipe without steps."""
    frame = ws.lake.read(manifest)
    if frame.is_empty():
        return None

    def panel(column: str, name: str) -> Callable[["Axes"], None]:
        def paint(axes: "Axes") -> None:
            marker = "o" if frame.height <= MARKED_STEPS else None
            axes.plot(frame["step"].to_list(), frame[column].to_list(), marker=marker, markersize=3, linewidth=1)
            axes.set_xlabel("step", fontsize=8)
            axes.set_ylabel(name, fontsize=8)
            axes.tick_params(labelsize=7)

        return paint

    panels = [
        panel("loss", "loss"),
        panel("learning_rate", "learning rate"),
        panel("grad_norm", "gradient norm"),
        panel("tokens_per_second", "tokens/s"),
    ]
    return draw("Training", *panels, height=4.6)


MAX_BARS = 15


def shares(metric: str, title: str) -> Callable[[Workspace, Manifest], str | None]:
    """A horizontal bar per entry of a ``{name: count}`` metric, of many the longest; None without any."""
    return lambda ws, manifest: _bars(manifest.metrics.get(metric) or {}, title)


def counted(column: str | pl.Expr, title: str) -> Callable[[Workspace, Manifest], str | None]:
    """A horizontal bar per value of a column, or of what an expression makes of one: how many rows have it."""
    value = pl.col(column) if isinstance(column, str) else column

    def plot(ws: Workspace, manifest: Manifest) -> str | None:
        source = ws.lake.source(manifest, "plot")
        counts: Counter[str] = Counter()
        for part in source.parts:
            rows = ws.lake.columns(source, part, value.meta.root_names())
            for name, number in rows.group_by(value.cast(pl.String).alias("value")).len().iter_rows():
                counts[name or "none"] += number
        return _bars(counts, title)

    return plot


def _bars(counts: Mapping[str, int], title: str) -> str | None:
    ordered = sorted(counts.items(), key=lambda item: (item[1], item[0]))[-MAX_BARS:]
    if not ordered:
        return None

    def paint(axes: "Axes") -> None:
        bars = axes.barh([name for name, _ in ordered], [count for _, count in ordered])
        axes.bar_label(bars, [f"{count:,}" for _, count in ordered], padding=3, fontsize=8)
        axes.margins(x=0.12)  # room for the numbers

    return draw(title, paint, height=1.4 + 0.24 * len(ordered))


def contamination(ws: Workspace, manifest: Manifest) -> str:
    """Pairs that each benchmark drops, and how many more its grams that are common in the crawl would."""
    table = manifest.metrics["by_benchmark"]

    def paint(axes: "Axes") -> None:
        names = [entry["benchmark"] for entry in table]
        axes.barh(
            names,
            [entry["pairs_dropped_with_common"] for entry in table],
            color="lightgray",
            label="with common n-grams",
        )
        axes.barh(names, [entry["pairs_dropped"] for entry in table], color="tab:red", label="dropped")
        axes.set_xlabel("pairs")
        axes.legend(fontsize=8)

    return draw("Pairs that share wording with a benchmark", paint)


def score_bars(ws: Workspace, manifest: Manifest) -> str:
    """Accuracy with its interval, the base model's beside it; of a judged benchmark the share of the best score."""
    metrics = manifest.metrics
    judged = "judge" in metrics

    def paint(axes: "Axes") -> None:
        low, high, value = metrics["ci_low"], metrics["ci_high"], metrics["accuracy"]
        axes.barh(
            [manifest.keys["recipe"]],
            [value],
            xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
            capsize=4,
        )
        if metrics.get("base_accuracy") is not None:
            axes.barh(["base model"], [metrics["base_accuracy"]], color="tab:gray")
        if not judged:
            axes.barh(["by the paper's rules"], [metrics["paper"]["accuracy"]], color="tab:olive")
        axes.set_xlim(0, 1)
        axes.set_xlabel(
            "share of the best score (95 % bootstrap interval)" if judged else "accuracy (95 % Wilson interval)"
        )

    return draw(f"{manifest.keys['benchmark']}", paint)


def review_shares(ws: Workspace, manifest: Manifest) -> str | None:
    """People's verdicts with their intervals; None while nobody has reviewed."""
    found: Mapping[str, Mapping[str, float]] = manifest.metrics["shares"]
    if not found:
        return None

    def paint(axes: "Axes") -> None:
        names = list(found)[::-1]
        shares = [found[name]["share"] for name in names]
        low = [found[name]["share"] - found[name]["low"] for name in names]
        high = [found[name]["high"] - found[name]["share"] for name in names]
        axes.barh([name.replace("_", " ") for name in names], shares, xerr=[low, high], capsize=4)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"share of {manifest.metrics['reviewed']} reviewed pairs (95 % Wilson interval)")

    return draw("Verdicts of reviewers", paint)
