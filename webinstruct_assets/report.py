"""A snapshot's pairs beside the pages they came from, for a browser: the paper's Figure 4 for every page.

``webinstruct report KEY`` serves it on loopback (browsers block links from Dagster's UI to local files). A page's view
has three columns: the source as it was crawled, the cleaned text with every pair's spans highlighted, the pairs.
``--tables`` prints what was measured instead, as Markdown: pairs, filters, refinement and labels, on gold.

Crawled text is hostile: all of it is escaped, no page has a script of its own or of anybody else (the policy forbids
them), nothing is loaded from elsewhere, and requests under another host name are refused (DNS rebinding).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import polars as pl

from webinstruct_assets.core import loopback, markdown
from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.warc import read_record
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.extraction.quality import ACCURACY_COLUMNS, accuracy_rows
from webinstruct_assets.stages.pages.charset import utf8
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets.stages.review.filters import COLUMNS, on_gold, on_replies, recorded, replies_folder, table_rows

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

PER_LIST = 100
SOURCE_CHARS = 400_000
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 0; color: #1b1f24; background: #f6f7f9 }
header { padding: .7rem 1.2rem; background: #fff; border-bottom: 1px solid #d9dde3 }
h1 { font-size: 1.15rem; margin: 0 } h2 { font-size: 1rem; margin: 1.2rem 0 .4rem }
main { padding: .8rem 1.2rem } a { color: #0b57a4 } .dim { color: #5d6673 }
table { border-collapse: collapse; background: #fff } th, td { padding: .25rem .7rem; border: 1px solid #d9dde3; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums }
.columns { display: grid; grid-template-columns: 1fr 1.2fr 1fr; gap: .8rem }
.columns > section { background: #fff; border: 1px solid #d9dde3; min-width: 0; height: 82vh; overflow: auto }
.columns h2 { position: sticky; top: 0; margin: 0; padding: .4rem .8rem; background: #eef1f5; z-index: 1 }
pre { margin: 0; padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; font: 12.5px/1.5 ui-monospace, monospace }
article { padding: .5rem .8rem; border-top: 1px solid #d9dde3; white-space: pre-wrap; overflow-wrap: anywhere }
mark.q { background: #cfe3ff } mark.a { background: #d3f2cf } mark.q.a { background: #ffd9a8 }
.rule { font: 12px ui-monospace, monospace; color: #5d6673; white-space: normal } .gone { color: #a4260b }
nav { margin: .6rem 0 }
"""


class Report:
    """Pages of the report over one published partition of ``extracted_qa``. Raises MissingInput without one."""

    def __init__(self, ws: Workspace, key: PartitionKey):
        self._ws, self._key = ws, key
        self.manifest = ws.lake.require(EXTRACTED_QA.ref(key), "webinstruct report")
        pages = ws.lake.require(PAGES.ref(key), "webinstruct report")
        self._pages = _scan(ws, ws.lake.source(pages, "webinstruct report"))
        self._pairs = _scan(ws, self.manifest)
        recalled = ws.lake.require(RECALLED_URLS.ref(key), "webinstruct report")
        self._recalled = _scan(ws, ws.lake.source(recalled, "webinstruct report"))
        counts = self._pairs.group_by("parent_id").agg(
            pl.len().alias("pairs"), pl.col("rule").unique().sort().alias("rules")
        )
        self._list = (
            self._pages.select("id", "url", "title", "domain")
            .join(counts.rename({"parent_id": "id"}), on="id", how="left")
            .with_columns(pl.col("pairs").fill_null(0), pl.col("rules").fill_null(pl.lit([], dtype=pl.List(pl.String))))
            .sort("domain", "url")
            .collect()
        )

    def index(self, rule: str, start: int) -> str:
        """The figures, and a list of pages, those of one rule if ``rule`` names it (``none``: pages without a pair)."""
        shown = self._list
        if rule == "none":
            shown = shown.filter(pl.col("pairs") == 0)
        elif rule:
            shown = shown.filter(pl.col("rules").list.contains(rule))
        part = shown.slice(start, PER_LIST)
        rules = Counter(self._list["rules"].explode().drop_nulls().to_list())
        links = " · ".join(
            f'<a href="/?{urlencode({"rule": name})}">{escape(name)}</a> <span class="dim">{count}</span>'
            for name, count in [*sorted(rules.items()), ("none", self._list.filter(pl.col("pairs") == 0).height)]
        )
        rows = [
            (f'<a href="/page/{row["id"]}">{escape(row["title"] or row["url"])}</a>', escape(row["url"]), row["pairs"],
             escape(", ".join(row["rules"])))
            for row in part.to_dicts()
        ]  # fmt: skip
        more = [
            f'<a href="/?{urlencode({"rule": rule, "start": place})}">{word}</a>'
            for word, place in (("earlier", start - PER_LIST), ("further", start + PER_LIST))
            if 0 <= place < shown.height
        ]
        heading = f"{shown.height:,} pages" + (
            f" with {rule}" if rule and rule != "none" else " without a pair" if rule else ""
        )
        return self._document(
            "Pairs and their pages",
            f"{self._accuracy()}<nav>Pages by rule: {links} · <a href='/'>all</a></nav><h2>{escape(heading)}</h2>"
            f"{_table(('page', 'address', 'pairs', 'rules'), rows)}<nav>{' '.join(more)}</nav>",
        )

    def page(self, identity: str) -> str | None:
        """Source, text and pairs of one page; None when the snapshot has no such page."""
        found = self._pages.filter(pl.col("id") == identity).collect().to_dicts()
        if not found:
            return None
        (page,) = found
        pairs = self._pairs.filter(pl.col("parent_id") == identity).collect().to_dicts()
        pairs.sort(key=lambda pair: (not pair["question_spans"], [span["start"] for span in pair["question_spans"]]))
        listed = "".join(_pair(number, pair, page["text"]) for number, pair in enumerate(pairs, 1))
        body = (
            f'<p><a href="/">all pages</a> <span class="dim">{escape(page["url"])}</span></p><div class="columns">'
            f"<section><h2>Source</h2><pre>{escape(self._source(page['parent_id']))}</pre></section>"
            f"<section><h2>Text</h2><pre>{highlighted(page['text'], pairs)}</pre></section>"
            f"<section><h2>{len(pairs)} pairs</h2>{listed or '<article class=dim>no pair</article>'}</section></div>"
        )
        return self._document(page["title"] or page["url"], body)

    def _document(self, title: str, body: str) -> str:
        return (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
            f'<link rel="stylesheet" href="/style.css"></head><body><header><h1>{escape(title)}</h1>'
            f'<div class="dim">extracted_qa {escape(str(self._key))}, data version {self.manifest.data_version[:12]}, '
            f"{self.manifest.rows:,} pairs</div></header><main>{body}</main></body></html>"
        )

    def _accuracy(self) -> str:
        rows = [[escape(name), *figures] for name, *figures in accuracy_rows(self.manifest.metrics.get("gold"))]
        filters = [[escape(cell) if isinstance(cell, str) else cell for cell in row] for row in self._on_gold]
        return (f"<h2>Accuracy on gold</h2>{_table(ACCURACY_COLUMNS, rows)}" if rows else "") + (
            f"<h2>Filters on gold</h2>{_table(COLUMNS, filters)}" if filters else ""
        )

    @cached_property
    def _on_gold(self) -> list[tuple[Any, ...]]:
        return list(table_rows(on_gold(self._ws, self._key)))

    def tables(self) -> str:
        """Markdown of what was measured; only counts and names of ours, no page text."""
        parts = []
        if rows := list(accuracy_rows(self.manifest.metrics.get("gold"))):
            parts.append("## Pairs, on gold\n\n" + _markdown(("of", *ACCURACY_COLUMNS[1:]), rows))
        judged = recorded(replies_folder(self._ws))
        replies = table_rows(on_replies(judged))
        failures = [
            (
                case.expected,
                f"{case.wanted}: {case.why}",
                case.reason or "kept",
                _inert(case.reply),
                _inert(case.detail),
            )
            for case in judged
            if (case.wanted == "drop") != bool(case.reason)
        ]
        parts.append("## Filters\n\n" + _markdown(COLUMNS, [*self._on_gold, *replies]))
        of_failures = ("case of", "should be", "was", "reply", "detail")
        parts.append("## Recorded replies that go wrong\n\n" + _markdown(of_failures, failures))
        refined = [
            (manifest.keys["refiner"], *manifest.metrics["gold"].values())
            for manifest in self._ws.lake.manifests("refined_qa")
            if manifest.keys["snapshot"] == self._key["snapshot"] and manifest.metrics.get("gold")
        ]
        if refined:
            heads = ("refiner", "kept pairs", "right before", "right after")
            parts.append("## Kept after refinement, on gold\n\n" + _markdown(heads, refined))
        dataset = self._ws.lake.manifest(Ref("webinstruct", self._key))
        if dataset and (labels := dataset.metrics.get("accuracy_on_gold")):
            rows = [(name, by, *figures.values()) for name, each in labels.items() for by, figures in each.items()]
            parts.append(
                "## Labels of the dataset, on gold\n\n" + _markdown(("label", "by", "labels", "accuracy"), rows)
            )
        if dataset and (rules := dataset.metrics.get("label_rules_on_gold")):
            parts.append(
                "## Label rules, on every gold pair\n\n"
                + _markdown(tuple(rules[0]), [tuple(row.values()) for row in rules])
            )
        return "\n\n".join(parts)

    def _source(self, recalled: str) -> str:
        rows = self._recalled.filter(pl.col("id") == recalled).collect().to_dicts()
        if not rows:
            return "(its row of recalled_urls is not there any more)"
        place = rows[0]
        file, offset, length = (place[name] for name in ("warc_filename", "warc_record_offset", "warc_record_length"))
        try:
            source = CrawlSource.of(self._ws, self._key["snapshot"])
            record = read_record(source.read_range(file, offset, length), file, offset)
            text = utf8(record.payload, record.content_type)[0].decode("utf-8", "replace")
        except (WebInstructError, ValueError) as error:
            return f"(not readable: {error})"
        return (
            text
            if len(text) <= SOURCE_CHARS
            else f"{text[:SOURCE_CHARS]}\n… {len(text) - SOURCE_CHARS:,} more characters"
        )


def _inert(text: str) -> str:
    """A cell of a Markdown table that holds ``text`` as it is, cut where long."""
    text = " ".join(text.replace("|", "/").replace("`", "'").split())
    return f"`{text if len(text) <= 90 else text[:90] + '…'}`" if text else ""


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return markdown.table(columns, (["" if cell is None else str(cell).strip() for cell in row] for row in rows))


def _scan(ws: Workspace, manifest: Manifest) -> pl.LazyFrame:
    return pl.scan_parquet(ws.lake.part_paths(manifest), hive_partitioning=False)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; cells that are text are HTML already."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    lines = (
        "".join(
            f'<td class="n">{value}</td>' if isinstance(value, int | float) else f"<td>{value or ''}</td>"
            for value in row
        )
        for row in rows
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _pair(number: int, pair: dict[str, Any], text: str) -> str:
    there = bool(pair["answer_spans"])
    verbatim = there and all(
        pair[name] == "\n".join(text[span["start"] : span["end"]] for span in pair[f"{name}_spans"])
        for name in ("question", "answer")
    )
    note = "" if verbatim else f' <span class="gone">{"retyped" if there else "not on the page"}</span>'
    return (
        f'<article id="pair-{number}"><div class="rule"><a href="#q{number}">{number}</a> {escape(pair["rule"])} '
        f'{escape(pair["kind"])}{note}</div><mark class="q">{escape(pair["question"])}</mark>\n'
        f'<mark class="a">{escape(pair["answer"])}</mark></article>'
    )


def highlighted(text: str, pairs: Sequence[dict[str, Any]]) -> str:
    """Escaped text with the spans of pairs marked; a question of several pairs (a shared stem) names all of them."""
    events: dict[int, list[tuple[bool, str, int]]] = {0: [], len(text): []}
    for number, pair in enumerate(pairs, 1):
        for kind in ("question", "answer"):
            for span in pair[f"{kind}_spans"]:
                events.setdefault(span["start"], []).append((True, kind, number))
                events.setdefault(span["end"], []).append((False, kind, number))
    out: list[str] = []
    active: Counter[tuple[str, int]] = Counter()
    anchored: set[int] = set()
    places = sorted(events)
    for place, following in zip(places, [*places[1:], len(text)], strict=True):
        for opens, kind, number in events[place]:
            active[kind, number] += 1 if opens else -1
        here = sorted(key for key, count in active.items() if count > 0)
        piece = escape(text[place:following])
        if not here or not piece:
            out.append(piece)
            continue
        classes = " ".join(sorted({kind[0] for kind, _ in here}))
        title = ", ".join(f"{kind} {number}" for kind, number in here)
        for kind, number in here:
            if kind == "question" and number not in anchored:
                anchored.add(number)
                out.append(f'<a id="q{number}"></a>')
        out.append(f'<mark class="{classes}" title="{title}">{piece}</mark>')
    return "".join(out)


def report_app(report: Report) -> "Starlette":
    """The application that shows a report; it answers GET only."""
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route

    shown = loopback.headers("style-src 'self'")

    def style(request: "Request") -> Response:
        return Response(STYLE, headers=shown, media_type="text/css")

    def index(request: "Request") -> Response:
        start = request.query_params.get("start", "0")
        rule = request.query_params.get("rule", "")
        return HTMLResponse(report.index(rule, int(start) if start.isdecimal() else 0), headers=shown)

    def page(request: "Request") -> Response:
        content = report.page(request.path_params["identity"])
        return (
            HTMLResponse(content, headers=shown) if content else PlainTextResponse("no such page", 404, headers=shown)
        )

    return loopback.application([Route("/style.css", style), Route("/", index), Route("/page/{identity}", page)])
