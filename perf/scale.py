"""What recall over Common Crawl costs, derived from what perf.recall measured: the tables of docs/scale.md.

python -m perf.scale [--measured FILE] [--cores N] [--core-hour DOLLARS] [--positives SHARE] [--write]

``--measured`` is what ``python -m perf.recall --save FILE`` wrote. Tables are printed; ``--write`` puts them between the
markers of docs/scale.md instead. Nothing is measured here: sizes of crawls are published ones, and what is assumed is an
option. CPU seconds are used, not seconds, since a core-hour is bought and a neighbour's work is not in it.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import CostConfig, CrawlConfig

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/scale.md"
BEGIN, END = "<!-- python -m perf.scale --write: begin -->", "<!-- end -->"
MACHINES = (1, 16, 100)
GIGABITS = (1, 10, 25)
TEXT_PER_BYTE = 2.7
TIB = 2**40


@dataclass(frozen=True)
class Crawl:
    """Published size of a crawl: page captures, files of a kind, bytes (gzip) of WET, WARC and columnar index."""

    captures: int
    files: int
    wet: float
    warc: float
    index: float

    def times(self, factor: float) -> "Crawl":
        """As much crawl, so many times."""
        captures, files = round(self.captures * factor), round(self.files * factor)
        return Crawl(captures, files, self.wet * factor, self.warc * factor, self.index * factor)


# commoncrawl.org/blog/august-2018-crawl-archive-now-available; captures: crawlsize/monthly.csv (below).
SNAPSHOT = Crawl(2_686_323_358, 71_520, 6.92 * TIB, 67.79 * TIB, 0.24 * TIB)
# github.com/commoncrawl/cc-crawl-statistics, plots/crawlsize/monthly.csv: column ``page`` of the crawls with WET files,
# CC-MAIN-2013-20 to CC-MAIN-2024-42. Bytes of all of them are the snapshot's, by captures.
CRAWLS, CRAWLS_CAPTURES = 101, 273_438_395_487


@dataclass(frozen=True)
class Tool:
    """A tool's CPU seconds for the measured file."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """CPU seconds."""
        return statistics.median(self.seconds)


def tools(measured: dict[str, Any]) -> list[Tool]:
    """Recall of this project, with all cores at work where that was measured, and every peer's, alone on its core."""
    cases = measured["cases"]
    own = measured["two_processes"] or cases["recall"]
    names = {"datatrove": "datatrove", "nemo-curator": "NeMo Curator"}
    peers = [Tool(label, _cpu(cases[name])) for name, label in names.items() if name in cases]
    return [Tool("webinstruct", _cpu(own)), *peers]


def core_hours(tool: Tool, crawl: Crawl, measured: dict[str, Any]) -> float:
    """The crawl's WET bytes at the tool's rate in bytes of WET file per CPU second."""
    return crawl.wet / measured["input"]["file_bytes"] * tool.median / 3600


def _cpu(answers: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    return tuple(answer["cpu"] for answer in answers)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.2g} min" if hours * 60 < 10 else f"{hours * 60:.0f} min"
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.1f} d" if hours < 480 else f"{hours / 24:,.0f} d"


def _dollars(amount: float) -> str:
    return f"{amount:,.2f}" if amount < 10 else f"{amount:,.0f}"


def _bytes(size: float) -> str:
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size / 1e6:,.1f} MB"


def _rates(measured: dict[str, Any]) -> str:
    facts, cases = measured["input"], dict(measured["cases"])
    if measured["two_processes"]:
        cases = {**{name: cases.pop(name) for name in list(cases) if name not in ("datatrove", "nemo-curator")},
                 "recall, all cores at work": measured["two_processes"], **cases}  # fmt: skip
    rows = []
    for name, answers in cases.items():
        cpu = _cpu(answers)
        median = statistics.median(cpu)
        wall = statistics.median([answer["seconds"] for answer in answers])
        rows.append(
            [name, f"{median:.2f} ({min(cpu):.2f} to {max(cpu):.2f}, {len(cpu)})", f"{wall:.2f}",
             f"{facts['text_bytes'] / median / 1e6:,.1f}", f"{facts['file_bytes'] / median / 1e6:,.1f}",
             f"{facts['pages'] / median:,.0f}"]
        )  # fmt: skip
    head = ["case", "CPU s (least to most, runs)", "wall s", "MB/s of text", "MB/s of file", "pages/s"]
    return _table(head, rows)


def _costs(crawl: Crawl, measured: dict[str, Any], options: argparse.Namespace) -> str:
    rows = []
    for tool in tools(measured):
        hours = core_hours(tool, crawl, measured)
        walls = [_duration(hours / options.cores / machines) for machines in MACHINES]
        rows.append([tool.name, f"{hours:,.0f}", _dollars(hours * options.core_hour), *walls])
    machines = [f"{count} machine{'s' * (count > 1)}" for count in MACHINES]
    return _table(["one pass", "core-hours", "$", *machines], rows)


def _alone(options: argparse.Namespace) -> float:
    """Share of the positives that are a request of their own: none follows within ``coalesce_gap``, lying at random."""
    records = CrawlConfig().coalesce_gap * SNAPSHOT.captures / SNAPSHOT.warc
    return float((1 - options.positives) ** records)


def _volumes(measured: dict[str, Any], options: argparse.Namespace) -> str:
    """Bytes and requests of one pass and of the positives' HTML."""
    found = measured["cases"]["recall"][-1]["result"]
    reject = found["reject_bytes"] / found["rejects"]
    text = measured["input"]["text_bytes"] / measured["input"]["file_bytes"]
    crawls = (SNAPSHOT, SNAPSHOT.times(CRAWLS_CAPTURES / SNAPSHOT.captures))
    record, alone = SNAPSHOT.warc / SNAPSHOT.captures, _alone(options)

    def row(name: str, what: str, values: Sequence[str]) -> list[str]:
        return [name, *values, what]

    def wanted(crawl: Crawl) -> float:
        return options.positives * crawl.captures

    return _table(
        ["", "snapshot", "all", "from"],
        [
            row("pages", "published", [f"{crawl.captures / 1e9:,.2f} B" for crawl in crawls]),
            row("WET read", "published; again in every round", [_bytes(crawl.wet) for crawl in crawls]),
            row("rejects written", f"{reject:.1f} bytes each, measured: {reject:.1f} GB per billion pages",
                [_bytes(reject * (crawl.captures - wanted(crawl))) for crawl in crawls]),
            row("recalled pages written", f"at most: {options.positives:.0%} of the text, were it not compressed",
                [_bytes(options.positives * crawl.wet * text) for crawl in crawls]),
            row("columnar index read", "published, at most: only the asked columns are read",
                [_bytes(crawl.index) for crawl in crawls]),
            row("HTML read by range", f"{options.positives:.0%} of the pages, {record / 1e3:.1f} KB each (WARC bytes per capture)",
                [_bytes(wanted(crawl) * record) for crawl in crawls]),
            row("requests for it", f"1 per page but {1 - alone:.0%}, which lie within `coalesce_gap` of another",
                [f"{wanted(crawl) * alone / 1e6:,.0f} M" for crawl in crawls]),
            row("all WARC instead", "published: what recall on WET saves", [_bytes(crawl.warc) for crawl in crawls]),
        ],
    )  # fmt: skip


def _limits(measured: dict[str, Any], options: argparse.Namespace) -> str:
    """When the network and not the CPU is the limit."""
    own = tools(measured)[0]
    hours = core_hours(own, SNAPSHOT, measured)
    rows = []
    for gigabits in GIGABITS:
        network = SNAPSHOT.wet * 8 / (gigabits * 1e9) / 3600
        walls = [_duration(max(hours / options.cores, network) / machines) for machines in MACHINES]
        rows.append([f"{gigabits} Gbit/s per machine", *walls])
    crawl = CrawlConfig()
    requests = options.positives * SNAPSHOT.captures * _alone(options)
    asking = requests / (crawl.requests_per_second * options.cores) / 3600
    rows.append(
        [f"{crawl.requests_per_second:g} requests per second and process, for the positives' HTML",
         *(_duration(asking / machines) for machines in MACHINES)]
    )  # fmt: skip
    needed = options.cores * measured["input"]["file_bytes"] / own.median * 8 / 1e9
    machines = [f"{count} machine{'s' * (count > 1)}" for count in MACHINES]
    table = _table(["a snapshot, if it gives", *machines], rows)
    return f"A machine's {options.cores} cores inflate and score {needed:.1f} Gbit/s of WET.\n\n{table}"


def _sensitivity(measured: dict[str, Any]) -> str:
    facts, own = measured["input"], tools(measured)[0]
    by_bytes = core_hours(own, SNAPSHOT, measured)
    per_page = SNAPSHOT.captures / facts["pages"] * own.median / 3600
    ratio = facts["text_bytes"] / facts["file_bytes"]
    spread = [by_bytes * seconds / own.median for seconds in (min(own.seconds), max(own.seconds))]
    return _table(
        ["webinstruct, one snapshot", "core-hours", "why"],
        [
            ["by bytes of file", f"{by_bytes:,.0f}", "the tables above"],
            ["fastest and slowest run", f"{spread[0]:,.0f} to {spread[1]:,.0f}", "spread of the measurement"],
            ["by pages", f"{per_page:,.0f}",
             f"the measured file's pages have {facts['file_bytes'] / facts['pages'] / 1e3:.1f} KB of file each,"
             f" the snapshot's {SNAPSHOT.wet / SNAPSHOT.captures / 1e3:.1f} KB: if all cost were per page"],
            [f"{TEXT_PER_BYTE} bytes of text per byte", f"{by_bytes * TEXT_PER_BYTE / ratio:,.0f}",
             f"the measured file inflates {ratio:.2f} times; an assumption for a real one, if all cost were per byte of text"],
        ],
    )  # fmt: skip


def render(measured: dict[str, Any], options: argparse.Namespace) -> str:
    """All tables, as Markdown."""
    machine, facts = measured["machine"], measured["input"]
    everything = SNAPSHOT.times(CRAWLS_CAPTURES / SNAPSHOT.captures)
    all_files = [answer["memory"] for answer in measured["files"].values()]
    parts = [
        "### Measured",
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB;"
        f" one WET file of {facts['pages']:,} pages, {facts['text_bytes'] / 1e6:.0f} MB of text in"
        f" {facts['file_bytes'] / 1e6:.0f} MB; medians, one core each. A worker's peak memory after 1, 5 and 20 files:"
        f" {', '.join(f'{size / 1e6:.0f}' for size in all_files)} MB.",
        _rates(measured),
        "### One snapshot",
        f"{SNAPSHOT.captures / 1e9:.2f} B captures in {SNAPSHOT.files:,} WET files of {SNAPSHOT.wet / TIB:.2f} TiB"
        f" (August 2018), machines of {options.cores} cores, ${options.core_hour:.2f} per core-hour.",
        _costs(SNAPSHOT, measured, options),
        "### All of Common Crawl",
        f"{CRAWLS} crawls with WET files up to October 2024, {CRAWLS_CAPTURES / 1e9:.1f} B captures, at the snapshot's bytes"
        f" per capture: {CRAWLS_CAPTURES / SNAPSHOT.captures:.1f} times the snapshot.",
        _costs(everything, measured, options),
        "### Bytes and requests of one pass",
        _volumes(measured, options),
        "### Where the network or the server is the limit",
        _limits(measured, options),
        "### Sensitivity",
        _sensitivity(measured),
    ]
    return "\n\n".join(parts)


def parser() -> argparse.ArgumentParser:
    """Options, with what is assumed as their defaults."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--measured", type=Path, default=ROOT / "perf/recall.json")
    options.add_argument("--cores", type=int, default=16, help="of a machine")
    options.add_argument("--core-hour", type=float, default=CostConfig().cpu_core_hour, help="dollars")
    options.add_argument("--positives", type=float, default=0.02, help="share of pages whose HTML is fetched")
    options.add_argument("--write", action="store_true", help="into docs/scale.md")
    return options


def main(options: argparse.Namespace) -> None:
    """Prints the tables, or writes them into the document."""
    text = render(json.loads(options.measured.read_text()), options)
    if not options.write:
        print(text)
        return
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{DOCUMENT} has lost its markers"
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main(parser().parse_args())
