"""Dagster as users run it: ``webinstruct ui`` with its webserver and daemon, a real browser, a real backfill.

Screenshots are left in the demo's home, to be looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest
from playwright.sync_api import Browser, Locator, Page

from webinstruct_assets.assets.publishing import GROUPS
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import STAGES
from webinstruct_assets.stages.crawl.writer import Capture, building, publish, write_snapshot
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets_tests import partitions
from webinstruct_assets_tests.conftest import rows_of, webinstruct
from webinstruct_assets_tests.services import Stack, chromium, wait_for

pytestmark = [pytest.mark.llm, pytest.mark.browser, pytest.mark.timeout(1800)]
WAIT = 60_000  # milliseconds
READABLE = 8  # pixels that a letter of a label needs
LABELS = """() => [...document.querySelectorAll('foreignObject')].map(node => {
    const label = [...node.querySelectorAll('*')].find(inner => !inner.children.length && inner.textContent.trim());
    const box = label.getBoundingClientRect(), scale = box.height / label.offsetHeight;
    return {name: label.textContent.trim(), left: box.left, right: box.right, top: box.top, bottom: box.bottom,
            letters: parseFloat(getComputedStyle(label).fontSize) * scale};
})"""
BROKEN = "() => [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
# Everything that a crawled page may say, as its author wrote it. Nothing of it may become more than text.
HOSTILE = (
    "\u202etxt\x1b[31m ![seen](https://evil.example/seen.png) <img src=x onerror=window.owned=1> "
    "<script>window.owned=1</script> [click](javascript:alert(1)) | a | b `c` **d** =HYPERLINK(1) "
    "$\\href{https://evil.example/}{e}$"
)


@pytest.fixture(scope="module")
def ui(demo_home: Path) -> Iterator[Stack]:
    with Stack(demo_home) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as running:
        yield running


@contextmanager
def opened(browser: Browser, address: str, scheme: Any = "light") -> Iterator[Page]:
    """A page in a window of its own, which may ask nobody but the server of ``address``."""
    context = browser.new_context(viewport={"width": 1800, "height": 1100}, color_scheme=scheme)
    context.set_default_timeout(WAIT)
    page, asked = context.new_page(), set[str]()
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.goto(address)
    try:
        yield page
        assert asked - {""} == {urlsplit(address).netloc}  # "" are data URIs
    finally:
        context.close()


def shown(page: Page, label: str) -> Locator:
    """The value of a metadata entry; what Dagster keeps behind a link is opened."""
    row = page.locator("tr", has=page.get_by_text(label, exact=True)).last
    row.wait_for()
    link = row.get_by_text("[Show Markdown]")
    if not link.count():
        return row
    link.click()
    close = page.get_by_role("button", name="Close")
    close.wait_for()
    return page.locator("div", has=close).filter(has=page.get_by_text(label, exact=True)).last


def closed(page: Page) -> None:
    close = page.get_by_role("button", name="Close")
    if close.count():
        close.click()
        close.wait_for(state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_lineage_is_readable_in_one_view(ui: Stack, browser: Browser, demo_home: Path, scheme: str) -> None:
    """All groups stand in the view of a laptop's screen, with letters that can be read."""
    with opened(browser, f"{ui.url}/asset-groups", scheme) as page:
        page.locator("foreignObject").nth(len(GROUPS)).wait_for()
        labels = page.evaluate(LABELS)
        page.screenshot(path=demo_home / f"lineage-{scheme}.png")
    assert {label["name"] for label in labels} == {"recall", *GROUPS}
    for label in labels:
        assert label["letters"] >= READABLE, label
        assert 0 < label["left"] < label["right"] < 1800 and 0 < label["top"] < label["bottom"] < 1100, label


@pytest.mark.parametrize(
    "assets",
    [
        pytest.param(["funnel"], id="one"),
        pytest.param([stage.asset for stage in STAGES], id="all", marks=pytest.mark.slow),
    ],
)
def test_an_assets_page_tells_what_it_is(ui: Stack, browser: Browser, demo_home: Path, assets: list[str]) -> None:
    """Description, columns, numbers, plot and sample of each asset, in both themes; no image is broken."""
    without_rows = {
        row["asset"] for row in rows_of(demo_home, "SELECT asset FROM manifests GROUP BY ALL HAVING max(rows) = 0")
    }
    backgrounds = set()
    for asset in assets:
        for scheme in ("light", "dark"):
            with opened(browser, f"{ui.url}/assets/{asset}?view=overview", scheme) as page:
                page.get_by_text("rejected_by_reason", exact=True).wait_for()
                page.get_by_text("the row's own id").first.wait_for()
                backgrounds.add((scheme, page.evaluate("getComputedStyle(document.body).backgroundColor")))
                text = page.inner_text("body")
                for told in ("Description", "the row's own id", "rows_in", "seconds", "parents", "manifest"):
                    assert told in text, (asset, told)
                assert "No description" not in text, asset
                page.screenshot(path=demo_home / f"{asset}-{scheme}.png")
                if asset not in without_rows:
                    if asset != "quality_review":  # nobody has reviewed the demo: there is nothing to draw
                        plot = shown(page, "figures_shown" if asset == "results_report" else "plot")
                        plot.locator("img").first.wait_for()
                        assert not page.evaluate(BROKEN), asset
                        page.screenshot(path=demo_home / f"{asset}-plot-{scheme}.png")
                        closed(page)
                    assert shown(page, "sample").locator("td").count() >= 3, asset
    assert len(backgrounds) == 2 and len({color for _, color in backgrounds}) == 2


def test_crawled_pages_cannot_inject_markup(ui: Stack, browser: Browser, demo_home: Path) -> None:
    """A page whose address, title, question and answer are hostile: the UI shows what it says, asks and runs nothing."""
    publish_hostile(Workspace.open(demo_home), "local-hostile")
    webinstruct(demo_home, "run", "--snapshot", "local-hostile", "--select", "pages", "extracted_qa")
    for asset, column in (("pages", "title"), ("extracted_qa", "question")):
        address = f"{ui.url}/assets/{asset}?view=partitions&partition=local-hostile"
        with opened(browser, address) as page:
            page.get_by_text("rejected_by_reason", exact=True).first.wait_for()
            dialog = shown(page, "sample")
            dialog.get_by_text(column, exact=True).wait_for()
            text = dialog.inner_text().replace("\u2060", "")
            for said in ("![seen](https://evil.example/seen.png)", "<img src=x onerror", "<script>", "\\u202e"):
                assert said in text, (asset, said, text)
            assert "\u202e" not in text and "\x1b" not in text
            assert dialog.locator("img, script, iframe, svg a, b, strong, code, [onerror]").count() == 0
            assert dialog.locator("a").count() == 0
            assert page.evaluate("window.owned") is None
            page.screenshot(path=demo_home / f"hostile-{asset}.png")


def publish_hostile(ws: Workspace, snapshot: str) -> None:
    """A snapshot of one hostile page, recalled: its WARC file and the row of ``recalled_urls`` that points there."""
    said = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    html = (
        f"<html lang=en><title>{said}</title><h2>What is {said}?</h2><p>It is {said}, as all the pages of this site say.</p>"
        f"<h2>Why is it so?</h2><p>Because {said}.</p></html>"
    )
    url = "https://hostile.example/![u](https://evil.example/u.png)|<script>window.owned=1</script>?q=$x$"
    root = Path(ws.crawl_root(snapshot))
    page = Capture(url, "2026-01-02T03:04:05Z", (("Content-Type", "text/html; charset=utf-8"),), html.encode())
    with building(root, snapshot) as folder:
        write_snapshot(folder, snapshot, [page])
        publish(folder, root, snapshot, "a test's crawl")
    index = root / f"cc-index/table/cc-main/warc/crawl={snapshot}/subset=warc"
    (found,) = pl.read_parquet(index / "*.parquet", hive_partitioning=False).to_dicts()
    known = {
        name: value for name, value in found.items() if name in RECALLED_URLS.schema and isinstance(value, str | int)
    }
    row = partitions.filled(
        RECALLED_URLS, **{**known, "id": row_id("ur", url), "url": url, "domain": "hostile.example"}
    )
    partitions.publish(ws, RECALLED_URLS, PartitionKey.of({"snapshot": snapshot}), [row])


def test_materialize_in_the_browser(ui: Stack, browser: Browser, demo_home: Path) -> None:
    """Materialize on a partition whose setting changed; nothing above it changes."""
    versions = "SELECT asset, partition, data_version, finished_at FROM manifests ORDER BY ALL"
    before = {(row["asset"], row["partition"]): row for row in rows_of(demo_home, versions)}
    config = demo_home / "config/environments/demo.yaml"
    original = config.read_text()
    config.write_text(original.replace("decontamination: {n: 10", "decontamination: {n: 11"))
    assert config.read_text() != original
    address = f"{ui.url}/assets/decontaminated_qa?view=partitions&partition=local-demo"
    try:
        with opened(browser, address) as page:
            page.get_by_role("button", name="Materialize").first.click()
            page.get_by_role("button", name="Launch").last.click()
            runs = "{runsOrError(limit: 1){... on Runs{results{status assetSelection{path}}}}}"
            wait_for(
                "the run's success",
                180,
                lambda: (
                    ui.ask(runs)["runsOrError"]["results"]
                    == [{"status": "SUCCESS", "assetSelection": [{"path": ["decontaminated_qa"]}]}]
                ),
            )
            page.goto(address)
            page.get_by_text("rejected_by_reason").first.wait_for()
            page.screenshot(path=demo_home / "partition.png")
    finally:
        config.write_text(original)
    after = {(row["asset"], row["partition"]): row for row in rows_of(demo_home, versions)}
    changed = {key[0] for key in before if before[key] != after[key]}
    assert changed == {"decontaminated_qa"}
    webinstruct(demo_home, "run", "--snapshot", "local-demo", "--select", "decontaminated_qa")


def test_a_partition_outside_the_environment_fails_at_once(ui: Stack) -> None:
    """A recipe whose data and model are not there: the run fails with an error that names what is missing."""
    run = ui.launch(["trained_checkpoint"], "mammoth2-7b")
    query = """query ($id: ID!) {
        runOrError(runId: $id) { ... on Run { status } }
        logsForRun(runId: $id) { ... on EventConnection { events {
            ... on ExecutionStepFailureEvent { error { message } failureMetadata { description } } } } } }"""

    def failed() -> Any:
        answer = ui.ask(query, id=run)
        return answer["logsForRun"]["events"] if answer["runOrError"]["status"] == "FAILURE" else None

    events = wait_for("the run's failure", 120, failed)
    assert any("mammoth2-7b" in str(event) and "fix: " in str(event) for event in events)


def test_a_backfill_of_two_snapshots(ui: Stack, demo_home: Path) -> None:
    """Two imported snapshots, one backfill through the daemon, both mined down to decontaminated pairs."""
    warcs = sorted((demo_home / "data/crawl/crawl-data/local-demo").rglob("*.warc.gz"))
    snapshots = ["local-one", "local-two"]
    for warc, snapshot in zip(warcs, snapshots, strict=False):
        webinstruct(demo_home, "import-warc", str(warc), "--snapshot", snapshot)
        webinstruct(demo_home, "run", "--snapshot", snapshot, "--model-from", "local-demo", "--to", "crawl_index")
    from webinstruct_assets.graph import STAGES

    assets = [stage.asset for stage in STAGES if stage.dimensions == ("snapshot",)]
    mined = assets[: assets.index("deduplicated_qa") + 1]
    assert ui.ended(ui.backfill(mined, snapshots), 900) == "COMPLETED_SUCCESS"
    rows = rows_of(demo_home, "SELECT partition, asset FROM manifests WHERE partition IN ('local-one', 'local-two')")
    assert {(row["partition"], row["asset"]) for row in rows} == {
        (snapshot, asset) for snapshot in snapshots for asset in mined
    }
