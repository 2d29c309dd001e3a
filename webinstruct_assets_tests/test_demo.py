"""The demo as a user sees it: one run of everything, then status, sql, trace and staleness on its result."""

import itertools
import json
from pathlib import Path

import pytest
import yaml
from warcio.archiveiterator import ArchiveIterator

from webinstruct_assets.core.lake import ref_of
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import STAGES
from webinstruct_assets.stages.release.steps import order
from webinstruct_assets.trace import Tracer
from webinstruct_assets_tests.conftest import rows_of, webinstruct

pytestmark = [pytest.mark.llm, pytest.mark.timeout(1800)]  # the first test waits for the whole demo


def status(home: Path) -> list[dict[str, object]]:
    return json.loads(webinstruct(home, "status", "--json").stdout)


def test_every_asset_is_materialized_with_rows(demo_home: Path) -> None:
    rows = status(demo_home)
    by_asset = {stage.asset: [row for row in rows if row["asset"] == stage.asset] for stage in STAGES}
    for asset, partitions in by_asset.items():
        assert partitions and all(row["up_to_date"] is True for row in partitions), (asset, partitions)
        off = asset == "verified_qa"  # without a model of its own
        assert (sum(int(str(row["rows"])) for row in partitions) > 0) is not off, asset
    assert set(rows[0]) == {
        "asset",
        "partition",
        "rows",
        "rejected",
        "bytes",
        "code_version",
        "data_version",
        "finished_at",
        "up_to_date",
        "reason",
        "cause",
        "taken_down",
    }


def test_a_second_run_finds_everything_up_to_date(demo_home: Path) -> None:
    before = status(demo_home)
    answer = webinstruct(demo_home, "demo").stdout
    assert answer.count(": up to date") == sum(row["rows"] is not None for row in before)
    assert status(demo_home) == before


def test_records_in_are_records_kept_plus_rejects(demo_home: Path) -> None:
    listed = {
        (row["asset"], row["partition"]): row["n"]
        for row in rows_of(demo_home, "SELECT asset, partition, count(*) AS n FROM rejects GROUP BY ALL")
    }
    for row in status(demo_home):
        assert row["rejected"] == listed.get((row["asset"], row["partition"]), 0), row


def test_every_pair_is_a_span_of_its_page(demo_home: Path) -> None:
    pairs = rows_of(
        demo_home,
        """
        SELECT q.question, q.answer, q.question_spans, q.answer_spans, p.text
        FROM extracted_qa q JOIN pages p ON q.parent_id = p.id AND q.snapshot = p.snapshot""",
    )
    assert pairs
    for pair in pairs:
        for name in ("question", "answer"):
            spans = pair[f"{name}_spans"]
            assert spans
            cut = " ".join(" ".join(pair["text"][span["start"] : span["end"]] for span in spans).split())
            assert cut == " ".join(pair[name].split())


def test_every_row_leads_to_its_parent(demo_home: Path) -> None:
    chain = [
        "round2_recall",
        "recalled_urls",
        "pages",
        "extracted_qa",
        "decontaminated_qa",
        "deduplicated_qa",
        "refined_qa",
        "webinstruct",
        "sft_dataset",
    ]
    for parent, child in itertools.pairwise(chain):
        above = f"SELECT id FROM {parent}" + (" UNION SELECT id FROM public_sets" if child == "sft_dataset" else "")
        (orphans,) = rows_of(demo_home, f"SELECT count(*) AS n FROM {child} WHERE parent_id NOT IN ({above})")
        assert orphans["n"] == 0, (parent, child)
        (twins,) = rows_of(
            demo_home,
            f"SELECT count(*) - count(DISTINCT id) AS n FROM {child} WHERE '{child}' <> 'sft_dataset'",
        )
        assert twins["n"] == 0, child


def test_trace_walks_from_a_score_to_warc_bytes(demo_home: Path) -> None:
    score = next(
        row for row in status(demo_home) if row["asset"] == "benchmark_scores" and "sft" in str(row["partition"])
    )
    answer = json.loads(webinstruct(demo_home, "trace", f"benchmark_scores/{score['partition']}", "--json").stdout)
    assert {"benchmark_scores", "trained_checkpoint", "sft_dataset", "crawl_index"} <= {
        link["ref"].split("/")[0] for link in answer["manifests"]
    }
    assert len(answer["rows"]) == 3
    for row in answer["rows"]:
        place = row["warc_record"]
        with (demo_home / "data/crawl" / place["warc_filename"]).open("rb") as stream:
            stream.seek(place["warc_record_offset"])
            record = next(iter(ArchiveIterator(stream)))  # an independent reader
            assert record.rec_headers["WARC-Target-URI"] == place["url"]
            assert record.rec_headers["WARC-Payload-Digest"].removeprefix("sha1:") == place[
                "content_digest"
            ].removeprefix("sha1:")
        spans = [step["spans"] for step in row["steps"] if step["spans"]]
        assert spans and spans[0]["question"][0]["text"]
    raw = webinstruct(demo_home, "trace", answer["rows"][0]["steps"][0]["id"], "--raw").stdout
    assert "WARC/1." in raw and "HTTP/1." in raw


def test_every_asset_leads_to_warc_records(demo_home: Path) -> None:
    """Or to no crawl_index: nothing in between. A stage whose rows have no parent is whole, or where rows begin."""
    ws = Workspace.open(demo_home)
    tracer = Tracer(ws)
    reached = set()
    for stage in STAGES:
        for manifest in ws.lake.manifests(stage.asset):
            ref = ref_of(manifest)
            links, chains = tracer.provenance(str(ref), False)
            places = [place for chain in chains if (place := tracer.warc_record(chain))]
            from_crawl = any(link.ref.startswith("crawl_index/") for link in links)
            assert bool(places) == from_crawl, ref
            for place in places:
                record = tracer.raw_record(place)
                assert record.startswith(b"WARC/1.") and (place["url"] or "").encode() in record, ref
            rows = ws.lake.read(manifest)
            for identity in rows["id"].head(1) if rows.height else ():
                _, [own, *examples] = tracer.provenance(identity, False)
                located = any(tracer.warc_record(chain) for chain in (own, *examples))
                assert located == from_crawl or own[-1].asset == "public_sets", identity
            if from_crawl:
                reached.add(stage.asset)
                assert stage.whole or not rows.height or "" not in rows["parent_id"] or not manifest.inputs, ref
    assert {stage.asset for stage in STAGES} - reached == {"benchmark_items", "public_sets"}
    (pair,) = ws.lake.read(ws.lake.manifests("webinstruct")[0])["id"].head(1)
    assert [step.asset for step in reversed(tracer.row(pair))][1:] == list(order(ws.lake.manifests("round2_recall")))


def test_the_report_shows_what_was_measured(demo_home: Path) -> None:
    scores = {
        (row["benchmark"], row["recipe"]): round(row["right"] / row["items"], 6)
        for row in rows_of(
            demo_home,
            "SELECT benchmark, recipe, count(*) FILTER (correct) AS right, count(*) AS items FROM benchmark_scores GROUP BY ALL",
        )
    }
    reported = rows_of(demo_home, "SELECT * FROM results_report")
    assert {(row["benchmark"], row["recipe"]): row["accuracy"] for row in reported} == scores
    assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in reported)
    trained = [row for row in reported if row["base_recipe"]]
    assert trained and all(row["delta_low"] <= row["delta"] <= row["delta_high"] for row in trained)
    assert all(row["published"] is None for row in reported), "the paper has no such recipe"
    (page,) = (demo_home / "data/lake/results_report").glob("*/report.html")
    text = page.read_text()
    for row in reported:
        assert f">{row['recipe']}<" in text and f">{100 * row['accuracy']:.1f}</a>" in text
    for name in ("report.md", "scores.csv", "comparisons.csv", "costs.csv", "main-paper.tex", "bars-demo-stem.svg"):
        assert page.with_name(name).stat().st_size > 200, name
    assert len(page.with_name("comparisons.csv").read_text().splitlines()) > 1
    costs = page.with_name("costs.csv").read_text().splitlines()
    assert len(costs) == 1 + len(trained)


def test_planted_contamination_is_caught(demo_home: Path) -> None:
    planted = set()
    for page in (demo_home / "data/demo/web").rglob("*.html"):
        matter = yaml.safe_load(page.read_text(encoding="utf-8").split("---")[1])
        if matter.get("contaminated"):
            planted.add("https://" + page.relative_to(demo_home / "data/demo/web").with_suffix("").as_posix())
    assert planted
    extracted = {row["url"] for row in rows_of(demo_home, "SELECT DISTINCT url FROM extracted_qa")}
    left = {row["url"] for row in rows_of(demo_home, "SELECT DISTINCT url FROM decontaminated_qa")}
    caught = rows_of(
        demo_home,
        "SELECT count(*) AS n FROM rejects WHERE asset = 'decontaminated_qa' AND reason = 'contaminated'",
    )
    assert planted & extracted, "no planted page came as far as extraction"
    assert not planted & left
    assert caught[0]["n"] >= len(planted & extracted)


def test_filters_drop_what_was_planted(demo_home: Path) -> None:
    """What docs/quality.md states: nothing planted is missed, nothing else dropped but three look-alikes of benchmark items.

    How many are met depends a little on which domains and pairs the demo's model finds, so on the machine's arithmetic.
    """
    printed = webinstruct(demo_home, "report", "local-demo", "--tables").stdout
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    rows = {(row[0], row[1]): [int(cell) for cell in row[2:6]] for row in cells if len(row) == 10 and row[2].isdigit()}
    gold = {reason: counts for (on, reason), counts in rows.items() if on.startswith("demo gold")}
    planted = {
        "contaminated": 15, "contaminated (pages)": 5, "duplicate_exact": 10, "duplicate_near": 9,
        "defect_language": 4, "defect_loop": 4, "defect_not_self_contained": 4, "defect_refusal": 4, "defect_truncated": 5,
    }  # fmt: skip
    assert gold.keys() == planted.keys()
    for reason, (dropped, right, wrong, missed) in gold.items():
        assert dropped == right + wrong and missed == 0 and planted[reason] - 2 <= dropped <= planted[reason], reason
        assert wrong <= {"contaminated": 3, "contaminated (pages)": 1}.get(reason, 0), reason
    assert sum(on == "recorded replies" for on, _ in rows) == 9


def test_mirrored_pairs_are_duplicates(demo_home: Path) -> None:
    """Every clean pair of a mirror page is one of two; the reject names the one that stays."""
    mirrored = yaml.safe_load((demo_home / "data/demo/web/mirror-of-papers.example/site.yaml").read_text())["mirrors"]
    pages = {f"https://{page}" for page in mirrored}
    pages |= {f"https://mirror-of-papers.example/{page.partition('/')[2]}" for page in mirrored}
    pairs = rows_of(demo_home, "SELECT id, url, question, answer FROM decontaminated_qa")
    kept = {row["parent_id"]: row for row in rows_of(demo_home, "SELECT * FROM deduplicated_qa")}
    gone = rows_of(demo_home, "SELECT * FROM rejects WHERE asset = 'deduplicated_qa'")
    assert len(pairs) == len(kept) + len(gone)
    texts = [row["question"] + row["answer"] for row in kept.values()]
    assert len(texts) == len(set(texts))
    twins = [pair for pair in pairs if pair["url"] in pages and pair["url"].startswith("https://mirror-of-papers")]
    assert len(gone) >= len(twins) > 0
    assert {reject["reason"] for reject in gone} == {"duplicate_exact", "duplicate_near"}
    assert all(any(row["id"] in reject["detail"] for row in kept.values()) for reject in gone)


def test_a_changed_setting_makes_stale_only_what_depends_on_it(demo_home: Path) -> None:
    path = demo_home / "config/environments/demo.yaml"
    original = path.read_text()
    try:
        content = yaml.safe_load(original)
        content["decontamination"] = {**content.get("decontamination", {}), "n": 8}
        path.write_text(yaml.safe_dump(content))
        stale = {row["asset"] for row in status(demo_home) if not row["up_to_date"]}
        reasons = {row["asset"]: row["reason"] for row in status(demo_home)}
        assert stale >= {"decontaminated_qa", "refined_qa", "webinstruct", "sft_dataset"}
        assert not stale & {"crawl_index", "seed_set", "pages", "extracted_qa", "benchmark_items"}
        assert "settings changed: n" in str(reasons["decontaminated_qa"])
    finally:
        path.write_text(original)
    assert all(row["up_to_date"] for row in status(demo_home))
