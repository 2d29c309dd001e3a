"""The dataset card of a release: statistics, yield, contamination, licences and provenance, from rows and manifests.

In: rows of ``webinstruct`` and the manifests of all that they were made from. Out: Markdown, and two SVG charts. Nothing
of time, place or run enters it, so the same manifests give the same bytes.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core import markdown
from webinstruct_assets.core.config import Section, load_yaml, read_yaml
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.stages.release.steps import rejected, steps

FOLDER = Path(__file__).parent / "card"
TOP_SITES = 25
LARGE_SITES = 15
UNKNOWN_LICENCE = "not known; the site's own terms apply"
SIZE_CATEGORIES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)


class PublishedDataset(Section):
    """A row of the comparison."""

    name: str
    size: str
    domain: str
    format: str
    origin: str


class PublishedDatasets(Section):
    """``published_datasets.yaml``."""

    source: str
    datasets: list[PublishedDataset]


def card(rows: pl.DataFrame, manifests: Sequence[Manifest], snapshot: str) -> str:
    """The card. ``manifests``: of ``webinstruct`` and its ancestors."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        (FOLDER / "card.md").read_text(encoding="utf-8")
    )
    published = load_yaml(FOLDER / "published_datasets.yaml", PublishedDatasets)
    contamination = [item for item in manifests if item.asset == "decontaminated_qa"]
    languages = [language for language in rows["language"].unique().sort() if language]
    return template.render(
        name=f"WebInstruct {snapshot}",
        snapshot=snapshot,
        rows=rows.height,
        languages=f"[{', '.join(languages)}]",
        size_category=next((name for limit, name in SIZE_CATEGORIES if rows.height < limit), "n>100M"),
        comparison_source=published.source,
        contamination=_contamination(contamination),
        tables={
            "subjects": _counted(rows["subject"].to_list(), "subject"),
            "source_types": _counted(rows["source_type"].to_list(), "source type"),
            "levels": _counted(rows["level"].to_list(), "level"),
            "sites": _counted(rows["domain"].to_list(), "site", TOP_SITES),
            "lengths": _lengths(rows),
            "funnel": _table(steps(manifests)),
            "rejects": _table(rejected(manifests)),
            "contamination": _table([row for item in contamination for row in benchmark_hits(item)]),
            "comparison": _comparison(published, rows),
            "licences": _licences(rows["domain"].to_list()),
            "provenance": _provenance(manifests),
        },
    )


def benchmark_hits(decontaminated: Manifest) -> list[dict[str, Any]]:
    """What decontamination found, a row per benchmark."""
    return list(decontaminated.metrics.get("by_benchmark", []))


def _contamination(manifests: Sequence[Manifest]) -> str:
    dropped = sum(item.rejected.get("contaminated", 0) for item in manifests)
    checked = sorted(
        {item.partition for manifest in manifests for item in manifest.inputs if item.asset == "benchmark_items"}
    )
    return (
        f"{dropped:,} pairs were dropped because their page or text shares wording with a test item."
        f" Checked against: {', '.join(checked) or 'no benchmark'}. Items hit and pages or pairs dropped per benchmark:"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "(nothing)"
    names = list(rows[0])
    return markdown.table(
        [name.replace("_", " ") for name in names], ([_cell(row.get(name)) for name in names] for row in rows)
    )


def _cell(value: Any) -> str:
    """A value as table text. Site names come from the web: nothing in them may end a cell or start markup."""
    text = f"{value:,}" if isinstance(value, int) else " ".join(str(value).split())
    return "".join("\\" + character if character in r"\`*[]<>|" else character for character in text)


def _counted(values: list[str], name: str, most: int | None = None) -> str:
    total = len(values)
    ordered = sorted(Counter(values).items(), key=lambda entry: (-entry[1], entry[0]))[:most]
    return _table([{name: value, "pairs": count, "share": f"{count / total:.1%}"} for value, count in ordered])


def _lengths(rows: pl.DataFrame) -> str:
    return _table(
        [
            {
                "words": name,
                **{
                    f"p{share}": int(rows[f"{name}_words"].quantile(share / 100, "nearest") or 0)
                    for share in (10, 50, 90)
                },
                "mean": round(sum(rows[f"{name}_words"]) / rows.height, 1),
                "max": rows[f"{name}_words"].max(),
            }
            for name in ("question", "answer")
        ]
    )


def _comparison(published: PublishedDatasets, rows: pl.DataFrame) -> str:
    ours = {
        "name": "this release",
        "size": f"{rows.height:,} pairs",
        "domain": _mostly(rows["subject"].to_list()),
        "format": "SFT",
        "origin": "recalled and extracted from the web",
    }
    return _table([*(item.model_dump() for item in published.datasets), ours])


def _mostly(subjects: list[str]) -> str:
    (most, count), *_ = sorted(Counter(subjects).items(), key=lambda entry: (-entry[1], entry[0]))
    return f"{most} ({count / len(subjects):.0%}) and others" if count < len(subjects) else most


def licence_of(domain: str, licences: Mapping[str, str]) -> str | None:
    """The licence noted for a site; None where none is."""
    return next((text for host, text in licences.items() if domain == host or domain.endswith(f".{host}")), None)


def _licences(domains: list[str]) -> str:
    licences: dict[str, str] = read_yaml(FOLDER / "licences.yaml")
    ordered = sorted(Counter(domains).items(), key=lambda entry: (-entry[1], entry[0]))
    rows, unknown = [], 0
    for domain, count in ordered:
        licence = licence_of(domain, licences)
        if licence is None and unknown >= LARGE_SITES:
            continue
        unknown += licence is None
        rows.append({"site": domain, "pairs": count, "licence": licence or UNKNOWN_LICENCE})
    return _table(rows)


def _provenance(manifests: Sequence[Manifest]) -> str:
    return _table(
        [
            {
                "asset": manifest.asset,
                "partition": manifest.partition,
                "data version": manifest.data_version[:16],
                "code version": manifest.code_version,
                "model": next((str(manifest.metrics[name]) for name in ("model",) if name in manifest.metrics), ""),
            }
            for manifest in manifests
        ]
    )


def pie(counts: Mapping[str, int], title: str) -> bytes:
    """A pie as SVG, the same bytes for the same counts."""
    import matplotlib
    from matplotlib.figure import Figure

    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    # Ids in an SVG are salted; a fixed salt and no date make the file a function of the counts.
    with matplotlib.rc_context({"svg.hashsalt": "webinstruct", "svg.fonttype": "none"}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.pie(
            [count for _, count in ordered], labels=[name for name, _ in ordered], autopct="%.1f%%", counterclock=False
        )
        axes.set_title(title)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
