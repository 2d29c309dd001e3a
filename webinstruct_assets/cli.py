"""The ``webinstruct`` command: thin verbs over the graph, the runner, status, sql and trace.

Exit codes: 0 done, 1 a problem that was named with its fix, 2 wrong usage.
"""

import getpass
import json
import logging
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.workspace import Workspace


class _Group(click.Group):
    """Prints our errors as problem and fix, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WebInstructError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Instruction data mined from web crawls, as a Dagster asset graph with lineage."""
    console = logging.getLogger("webinstruct")
    if not console.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        console.addHandler(handler)
        console.setLevel(logging.INFO)
        console.propagate = False


def _workspace() -> Workspace:
    return Workspace.open()


@main.command()
def demo() -> None:
    """Builds the demo crawl and materializes every asset of the active environment's partitions."""
    from webinstruct_assets import runner
    from webinstruct_assets.graph import Selection, closure, targets
    from webinstruct_assets.stages.crawl.demo import build_demo_crawl

    ws, watch = _workspace(), runner.Stopwatch()
    counts = build_demo_crawl(ws.path(ws.config.crawl.demo_sources), ws.path(ws.config.crawl.local_root), "local-demo")
    click.echo(f"demo crawl: {', '.join(f'{value} {name}' for name, value in counts.items())}")
    manifests = runner.run_all(ws, closure(ws, targets(ws, Selection(), ()), None))
    click.echo(f"\n{runner.summary(manifests)}\n\n{len(manifests)} partitions up to date after {watch}. Next: make ui")


@main.command()
@click.option("--port", default=3000, show_default=True)
def ui(port: int) -> None:
    """Dagster's UI and daemon on loopback, with this project's runs, partitions and lineage.

    First, runs that a crash or power cut ended are marked as failed, and their places in pools freed.
    """
    from webinstruct_assets import stack

    click.echo(
        f"lineage: http://127.0.0.1:{port}/asset-groups  (whoever reaches this port can run code as you: keep it on loopback)"
    )
    stack.serve(_workspace(), port, click.echo)


@main.command()
@click.option("--snapshot", required=True, help="CC-MAIN-YYYY-WW or local-NAME")
@click.option("--refiner", help="only this refiner")
@click.option("--recipe", help="only this recipe")
@click.option("--benchmark", help="only this benchmark")
@click.option("--select", "selected", multiple=True, metavar="ASSET", help="only these assets, nothing above them")
@click.option("--to", "upto", metavar="ASSET", help="this asset and what it needs")
@click.option("--model-from", metavar="SNAPSHOT", help="reuse that snapshot's recall model, now and later")
@click.argument("more", nargs=-1, metavar="[ASSET]...")
def run(
    snapshot: str,
    refiner: str | None,
    recipe: str | None,
    benchmark: str | None,
    selected: tuple[str, ...],
    upto: str | None,
    model_from: str | None,
    more: tuple[str, ...],
) -> None:
    """Materializes what is missing or stale for one snapshot.

    --select takes several assets: --select A B, --select A,B or --select A --select B.
    """
    from webinstruct_assets import runner
    from webinstruct_assets.core.keys import check_snapshot, plain_snapshot
    from webinstruct_assets.graph import Selection, closure, targets, with_funnels
    from webinstruct_assets.stages.crawl.source import CrawlSource

    if selected and upto:
        raise click.UsageError("--select and --to exclude each other")
    if more and not selected:
        raise click.UsageError(f"unexpected {' '.join(more)}; assets are named with --select or --to")
    ws = _workspace()
    CrawlSource.of(ws, check_snapshot(snapshot)).file_list(plain_snapshot(snapshot), "wet")
    if model_from:
        ws.set_reference(plain_snapshot(snapshot), model_from)
    selection = Selection(snapshot, refiner=refiner, recipe=recipe, benchmark=benchmark)
    wanted = targets(
        ws,
        selection,
        tuple(name for item in (*selected, *more) for name in item.split(",")) or ((upto,) if upto else ()),
    )
    manifests = runner.run_all(ws, wanted if selected else with_funnels(closure(ws, wanted, snapshot)))
    click.echo(f"\n{runner.summary(manifests)}")


@main.command()
@click.option("--snapshot", help="only this snapshot's partitions, and those of no snapshot")
@click.option("--json", "as_json", is_flag=True, help="a list of objects")
def status(snapshot: str | None, as_json: bool) -> None:
    """A row per asset and partition: what is there, and whether it is up to date."""
    from webinstruct_assets import status as module
    from webinstruct_assets.core.keys import check_snapshot
    from webinstruct_assets.takedown import holdings

    ws = _workspace()
    snapshot = check_snapshot(snapshot) if snapshot else None
    if as_json:
        click.echo(json.dumps(module.rows(ws, snapshot), indent=1))
        return
    click.echo("\n".join(module.report(ws, snapshot, shutil.get_terminal_size((160, 24)).columns)))
    if held := holdings(ws):
        click.echo("\ntaken down, and still in (materialize these again):")
        for item in held:
            what = f"{item.rows:,} rows" if item.rows else "made from them"
            click.echo(f"{item.asset:<20} {item.partition:<34} {what:<16} {item.takedown}")


@main.command()
@click.argument("query", required=False)
@click.option("--json", "as_json", is_flag=True, help="a list of objects")
def sql(query: str | None, as_json: bool) -> None:
    """DuckDB over the lake: one view per asset, plus rejects and manifests. Without QUERY: a prompt."""
    import duckdb

    from webinstruct_assets import sql as module

    database = module.Database(_workspace())
    for error in database.unreadable.values():
        click.echo(f"left out: {error.problem}; {error.fix}", err=True)
    if query is None:
        _prompt(database)
        return
    try:
        frame: duckdb.DuckDBPyRelation | None = database.sql(query)
        if frame is None:  # a statement without a result
            return
        if as_json:
            names = frame.columns
            click.echo(
                json.dumps(
                    [dict(zip(names, row, strict=True)) for row in frame.fetchall()],
                    default=str,
                    ensure_ascii=False,
                )
            )
        else:
            frame.show(max_width=180)
    except duckdb.Error as error:
        raise WebInstructError(f"query failed: {error}", "`webinstruct sql 'SHOW TABLES'` lists the views") from error


def _prompt(database: Any) -> None:
    import duckdb

    click.echo("DuckDB over the lake; SHOW TABLES lists the views; an empty line or Ctrl-D ends")
    while query := _line():
        try:
            frame: duckdb.DuckDBPyRelation | None = database.sql(query)
            if frame is not None:
                frame.show(max_width=180)
        except duckdb.Error as error:
            click.echo(f"error: {error}", err=True)


def _line() -> str:
    try:
        return input("webinstruct> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


@main.command("import-warc")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
)
@click.option("--snapshot", required=True, help="local-NAME, the new snapshot")
def import_warc(files: tuple[Path, ...], snapshot: str) -> None:
    """Turns your own WARC files into a snapshot (with its text and index files)."""
    from webinstruct_assets.core.errors import BadKey
    from webinstruct_assets.core.keys import check_plain_snapshot
    from webinstruct_assets.stages.crawl import importer

    if not check_plain_snapshot(snapshot).startswith("local-"):
        raise BadKey(f"{snapshot!r} would pass for a Common Crawl snapshot", "name imports local-NAME")
    ws = _workspace()
    counts = importer.import_warc(files, ws.path(ws.config.crawl.local_root), snapshot, click.echo)
    click.echo(
        f"{snapshot}: {json.dumps(counts)}\nnext: webinstruct run --snapshot {snapshot} --to webinstruct [--model-from SNAPSHOT]"
    )


@main.command()
@click.argument("what", metavar="ROW_ID|ASSET/PARTITION")
@click.option("--all", "everything", is_flag=True, help="every row of the partition instead of three")
@click.option("--raw", is_flag=True, help="print the WARC record itself")
@click.option("--json", "as_json", is_flag=True, help="one object")
def trace(what: str, everything: bool, raw: bool, as_json: bool) -> None:
    """Provenance of a row, or of a partition, down to WARC file, offset, length, digest and fetch time."""
    from webinstruct_assets.trace import Tracer, describe, describe_links, describe_place, origins

    tracer = Tracer(_workspace())
    links, chains = tracer.provenance(what, everything)
    places = [tracer.warc_record(chain) for chain in chains]
    if as_json:
        rows = [
            {"steps": [asdict(step) for step in chain], "warc_record": place}
            for chain, place in zip(chains, places, strict=True)
        ]
        click.echo(
            json.dumps(
                {"manifests": [asdict(link) for link in links], "rows": rows},
                indent=1,
                default=str,
                ensure_ascii=False,
            )
        )
        return
    if links:
        click.echo(f"manifests of {what}:\n{describe_links(links)}\n")
    for chain, place in zip(chains, places, strict=True):
        click.echo(describe(chain))
        if place:
            click.echo(f"{describe_place(place)}\n")
            if raw:
                sys.stdout.flush()
                sys.stdout.buffer.write(tracer.raw_record(place) + b"\n")
    if not any(places):
        click.echo(f"not made from the crawl: it comes from {', '.join(origins(links, chains))}")


@main.command()
@click.option("--snapshot", required=True, help="CC-MAIN-YYYY-WW or local-NAME")
@click.option("--reviewer", default=getpass.getuser, help="whose verdicts these are (default: your user name)")
@click.option("--port", default=3001, show_default=True, help="0 takes a free one")
def review(snapshot: str, reviewer: str, port: int) -> None:
    """Opens the snapshot's sample of refined pairs for human review, on loopback."""
    from webinstruct_assets.core.keys import check_snapshot
    from webinstruct_assets.review.server import serve

    serve(_workspace(), check_snapshot(snapshot), reviewer, port, click.echo)


@main.command()
@click.option("--port", default=9464, show_default=True, help="0 takes a free one")
def metrics(port: int) -> None:
    """Serves Prometheus metrics on loopback: rows, rejects, tokens and cost per partition, and builds in flight."""
    from webinstruct_assets.metrics import serve

    server = serve(_workspace(), port)
    click.echo(f"http://127.0.0.1:{server.server_port}/metrics  (Ctrl-C ends it)")
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo()


@main.command()
@click.option("--domain", help="a host name; covers its subdomains")
@click.option("--url", help="a page, as its URL stands in the data")
@click.option("--pair", metavar="ROW_ID", help="one pair: the id of any row from extracted_qa down to sft_dataset")
@click.option("--reason", help="who asked, and why")
def takedown(domain: str | None, url: str | None, pair: str | None, reason: str | None) -> None:
    """Takes pages or pairs out of every later version of everything; without options, lists what was taken down.

    Partitions that hold them count as stale from now on, and lose them when they are materialized again.
    """
    from webinstruct_assets.takedown import holdings, take_down

    ws = _workspace()
    named: list[tuple[Literal["domain", "url", "pair"], str]] = []
    if domain is not None:
        named.append(("domain", domain))
    if url is not None:
        named.append(("url", url))
    if pair is not None:
        named.append(("pair", pair))
    if len(named) > 1 or (named and not reason) or (reason and not named):
        raise click.UsageError("give one of --domain, --url, --pair, and --reason")
    for kind, value in named:
        take_down(ws, kind, value, reason or "", getpass.getuser(), lambda line: click.echo(line, err=True))
    held = holdings(ws)
    for entry in ws.lake.takedowns.all():
        click.echo(f"{entry.id}  {entry.at}  {entry.kind} {entry.value}  by {entry.by}: {entry.reason}")
        for item in held:
            if item.takedown == entry.id:
                what = f"{item.rows:,} rows" if item.rows else "made from them"
                click.echo(f"    still in {'/'.join(filter(None, (item.asset, item.partition)))}: {what}")


@main.command()
@click.option("--snapshot", required=True, help="CC-MAIN-YYYY-WW or local-NAME")
@click.option("--repo", required=True, metavar="ORG/NAME", help="a dataset repository; made where there is none")
@click.option("--private", is_flag=True, help="make it a private one")
def push(snapshot: str, repo: str, private: bool) -> None:
    """Sends the snapshot's release to the Hugging Face hub (HF_TOKEN; HF_ENDPOINT for another hub)."""
    from webinstruct_assets import hub
    from webinstruct_assets.core.keys import check_snapshot

    click.echo(hub.push(_workspace(), check_snapshot(snapshot), repo, private=private))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="a list of objects")
def doctor(as_json: bool) -> None:
    """Checks this machine and everything that the environment names, and says what to fix. Exit code 1: broken."""
    from webinstruct_assets import doctor as module

    findings = module.examine()
    click.echo(json.dumps([asdict(item) for item in findings], indent=1) if as_json else module.describe(findings))
    if any(item.level == "broken" for item in findings):
        sys.exit(1)


@main.command()
@click.argument("key", metavar="SNAPSHOT")
@click.option("--port", default=3010, show_default=True, help="0 takes a free one")
@click.option("--tables", is_flag=True, help="print what was measured on gold, as Markdown, and end")
def report(key: str, port: int, tables: bool) -> None:
    """Serves a snapshot's pages on loopback: source, text and extracted pairs side by side, with accuracy on gold."""
    from webinstruct_assets.core import loopback
    from webinstruct_assets.core.keys import PartitionKey
    from webinstruct_assets.report import Report, report_app

    pages = Report(_workspace(), PartitionKey.parse(("snapshot",), key))
    if tables:
        click.echo(pages.tables())
        return
    listening = loopback.listen(port)
    click.echo(f"{loopback.url(listening)}  (Ctrl-C ends it)")
    loopback.serve(report_app(pages), listening)


if __name__ == "__main__":
    main()
