"""Plots of a materialization, as Markdown images with the PNG inside: the UI shows no local files.

matplotlib is imported when a plot is drawn, never when the code location loads.
"""

import base64
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BYTES = 50_000  # an image lives in Dagster's event log


def draw(title: str, paint: Callable[["Axes"], None]) -> str:
    """One figure as Markdown with a data URI."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    paint(axes)
    axes.set_title(title, fontsize=10)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    if stream.tell() > MAX_BYTES:
        raise AssertionError(f"plot {title!r} has {stream.tell()} bytes, at most {MAX_BYTES} go into the event log")
    return f"![{title}](data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()})"


def score_histogram(ws: Workspace, manifest: Manifest) -> str:
    """Scores with the model's threshold, split by label where the rows have one."""
    frame, threshold = ws.lake.read(manifest), float(manifest.metrics["threshold"])

    def paint(axes: "Axes") -> None:
        if "label" in frame.columns:
            groups = {label: frame.filter(label=label)["score"].to_list() for label in ("negative", "positive")}
            axes.hist(list(groups.values()), bins=40, range=(0, 1), stacked=True, label=list(groups))
        else:
            axes.hist(frame["score"].to_list(), bins=40, range=(0, 1), label="recalled")
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:.3f}")
        axes.set_xlabel("probability of an instruction page")
        axes.set_ylabel("pages")
        axes.legend(fontsize=8)

    return draw("Held-out scores" if "label" in frame.columns else "Scores of recalled pages", paint)


def domain_rates(ws: Workspace, manifest: Manifest) -> str:
    """Recall rate against recalled pages, selected and dropped domains apart."""
    frame = ws.lake.read(manifest)

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
        axes.set_xlabel("recalled pages of the domain")
        axes.set_ylabel("recall rate")
        axes.legend(fontsize=8)

    return draw("Judged domains", paint)


def loss_curve(ws: Workspace, manifest: Manifest) -> str | None:
    """Training loss per step; None for a recipe without steps."""
    frame = ws.lake.read(manifest)
    if frame.is_empty():
        return None

    def paint(axes: "Axes") -> None:
        axes.plot(frame["step"].to_list(), frame["loss"].to_list(), marker="o", markersize=3)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")

    return draw("Training loss", paint)


def shares(metric: str, title: str) -> Callable[[Workspace, Manifest], str | None]:
    """A horizontal bar per entry of a ``{name: count}`` metric."""

    def plot(ws: Workspace, manifest: Manifest) -> str | None:
        counts: Mapping[str, Any] = manifest.metrics.get(metric) or {}
        if not counts:
            return None
        ordered = sorted(counts.items(), key=lambda item: item[1])[-15:]

        def paint(axes: "Axes") -> None:
            axes.barh([name for name, _ in ordered], [count for _, count in ordered])

        return draw(title, paint)

    return plot


def score_bars(ws: Workspace, manifest: Manifest) -> str:
    """Accuracy with its interval, the base model's beside it."""
    metrics = manifest.metrics

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
        axes.barh(["by the paper's rules"], [metrics["paper"]["accuracy"]], color="tab:olive")
        axes.set_xlim(0, 1)
        axes.set_xlabel("accuracy (95 % Wilson interval)")

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
