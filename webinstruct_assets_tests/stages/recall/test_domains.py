"""Domains of a recall: evidence, cuts, remembered labels, and what the LLM says of the rest."""

from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.recall.domains import candidates
from webinstruct_assets.stages.recall.judge import Judgement, Memory
from webinstruct_assets.stages.recall.round1_domains import ROUND1_DOMAINS
from webinstruct_assets.stages.recall.round1_recall import ROUND1_RECALL
from webinstruct_assets_tests.crawls import configured
from webinstruct_assets_tests.partitions import filled, made

KEY = PartitionKey.of({"snapshot": "local-test"})


def test_evidence_is_counted_over_the_recall() -> None:
    pages = pl.LazyFrame(
        {
            "id": ["r1-3", "r1-1", "r1-2", "r1-4"],
            "domain": ["a.example", "a.example", "b.example", "a.example"],
            "url": ["https://a.example/q/1?x", "https://www.a.example/q/2", "https://b.example", "https://a.example/z"],
            "title": ["T1", "T2", "T3", "T2"],
            "text": ["one", "two", "three", "für"],
            "score": pl.Series([0.5, 0.7, 0.9, 0.6], dtype=pl.Float32),
        }
    )
    read = pl.DataFrame({"domain": ["a.example", "b.example", "c.example"], "pages": [12, 1, 5]})
    rows = candidates(pages, read, 1, 2).to_dicts()
    names = ("domain", "recalled", "recall_rate", "titles", "paths", "parent_id", "text_bytes")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("a.example", 3, 0.25, ["T2"], ["/q", "/z"], "r1-1", 10),
        ("b.example", 1, 1.0, ["T3"], None, "r1-2", 5),
    ]


def recall(ws: Workspace, domains: dict[str, tuple[int, int]], key: PartitionKey = KEY) -> None:
    """A round's recall with (recalled, read) pages per domain."""
    rows = [
        filled(
            ROUND1_RECALL, id=f"r1-{name}-{n}", parent_id="ci-1", domain=name, url=f"https://{name}/questions/{n}",
            title=f"Solve exercise {n} of the exam", score=0.9, offset=n, text="x" * 40,
        )
        for name, (recalled, _) in domains.items()
        for n in range(recalled)
    ]  # fmt: skip
    counted = pl.DataFrame({"domain": list(domains), "pages": [read for _, read in domains.values()]})

    def run(job: Job) -> None:
        job.unit("0", lambda: Unit(rows=rows, rows_in=len(rows), files={"domains-0.parquet": counted}))
        labelled = {"snapshot": key["snapshot"], "positives": 7, "negatives": 9}
        job.metrics |= {"pages_scored": int(counted["pages"].sum()), "labelled": labelled}

    execute(made(ROUND1_RECALL, run), key, ws, log=print, run_id="test")


class Asked(Exception):
    """The judge was to be asked."""


@pytest.fixture
def without_llm(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Whoever turns to the judge is found out."""

    def asked(*arguments: object) -> None:
        raise Asked

    monkeypatch.setattr(Workspace, "llm", asked)
    return configured(workspace, recall={"min_domain_pages": 3, "min_recall_rate": 0.1, "sure_recall_rate": 0.8})


def build(ws: Workspace, key: PartitionKey = KEY) -> tuple[Manifest, dict[str, dict[str, Any]], pl.DataFrame]:
    manifest = execute(ROUND1_DOMAINS, key, ws, log=print, run_id="test")
    rejects = [pl.read_parquet(path) for path in ws.lake.reject_paths(manifest)]
    rows = {row["domain"]: row for row in ws.lake.read(manifest).iter_rows(named=True)}
    return manifest, rows, pl.concat(rejects) if rejects else pl.DataFrame(schema={"reason": pl.String})


DOMAINS = {
    "quizlemma.example": (3, 100),  # on the allow-list, so its low rate does not count
    "sure.example": (9, 10),
    "few.example": (2, 2),
    "rare.example": (5, 80),
    "open.example": (5, 10),
}


def remember(ws: Workspace, snapshot: str, judgements: dict[str, Judgement]) -> None:
    ledger = ws.ledger()
    model, at_once = ws.model_identity("smollm2-135m"), ws.config.recall.domains_per_request
    Memory(ledger, model, "round1_domains", at_once, snapshot).remember(judgements)
    ledger.close()


def test_cuts_come_before_the_llm_and_every_count_is_in_the_metrics(without_llm: Workspace) -> None:
    ws = without_llm
    recall(ws, DOMAINS)
    with pytest.raises(Asked):
        build(ws)
    remember(ws, "local-other", {"open.example": Judgement("educational", ("educational",) * 2, "", "local-other")})
    manifest, rows, rejects = build(ws)
    assert {name: (row["decided_by"], row["selected"]) for name, row in rows.items()} == {
        "quizlemma.example": ("allow_list", True),
        "sure.example": ("recall_rate", True),
        "open.example": ("llm_cached", True),
    }
    assert rows["open.example"]["label_from"] == "local-other" and rows["sure.example"]["label_from"] == ""
    assert rows["open.example"]["votes"] == ["educational"] * 2
    assert sorted(rejects["reason"]) == ["low_recall_rate", "too_few_pages"]
    metrics = manifest.metrics
    assert metrics["labels_from"] == {"local-other": 1}
    counts = {name: metrics[name] for name in metrics if name.startswith("domains_")}
    assert counts == {
        "domains_read": 5,
        "domains_read_with_3_pages": 4,
        "domains_recalled": 5,
        "domains_with_min_pages": 4,
        "domains_judged": 3,
        "domains_selected": 3,
    }
    assert metrics["collected_pages"] == 17 and metrics["recalled_pages"] == 24
    assert [(step["step"], step["count"]) for step in metrics["funnel"]] == [
        ("positive training pages", 7),
        ("negative training pages", 9),
        ("pages scored", 202),
        ("pages recalled", 24),
        ("tokens recalled, about", 240),
        ("domains recalled", 5),
        ("domains with enough pages", 4),
        ("domains judged", 3),
        ("domains selected", 3),
        ("pages of selected domains", 17),
        ("tokens of these, about", 170),
    ]


def test_the_run_that_asked_gives_the_same_rows_again(without_llm: Workspace) -> None:
    """As after a kill between the last answer and publication: its own labels are no others' labels."""
    ws = without_llm
    recall(ws, {"open.example": (5, 10), "split.example": (4, 10), "odd.example": (4, 10)})
    yes, no = "educational", "non-educational"
    remember(
        ws,
        "local-test",
        {
            "open.example": Judgement(no, (no, no), "", "local-test"),
            "split.example": Judgement(yes, (no, yes, yes), "", "local-test"),
            "odd.example": Judgement("", ("", "unsure", ""), "I cannot", "local-test"),
        },
    )
    _, rows, _ = build(ws)
    assert {name: (row["decided_by"], row["selected"]) for name, row in rows.items()} == {
        "open.example": ("llm", False),
        "split.example": ("llm_split", True),
        "odd.example": ("llm_undecided", False),
    }
    assert rows["odd.example"]["reply"] == "I cannot" and rows["split.example"]["votes"] == [no, yes, yes]


@pytest.mark.llm
def test_a_later_snapshot_only_asks_about_new_domains(workspace: Workspace) -> None:
    ws = configured(
        workspace,
        recall={"min_domain_pages": 3, "min_recall_rate": 0.1, "sure_recall_rate": 0.8, "domains_per_request": 2},
    )
    known = {name: (5, 10) for name in ("algebra-exams.example", "evening-news.example", "sofa-shop.example")}
    recall(ws, known)
    _, rows, _ = build(ws)
    assert len(rows) == 3 and all(2 <= len(row["votes"]) <= 3 and row["model"] for row in rows.values())
    assert {row["decided_by"] for row in rows.values()} <= {"llm", "llm_split", "llm_undecided"}
    later = PartitionKey.of({"snapshot": "local-later"})
    recall(ws, {**known, "new.example": (6, 10)}, later)
    _, again, _ = build(ws, later)
    labelled = {name for name, row in rows.items() if row["decided_by"] != "llm_undecided"}
    assert {name for name, row in again.items() if row["decided_by"] == "llm_cached"} == labelled
    assert again["new.example"]["label_from"] == "local-later"
    assert all(again[name]["selected"] == rows[name]["selected"] for name in labelled)
