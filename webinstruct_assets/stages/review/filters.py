"""How well filters drop what they should, counted per reason.

In: published partitions of a snapshot whose pages somebody marked (``gold.jsonl``), and refiner replies with a verdict
written by hand (``replies/<reason>.yaml``). Out: a row per reason (``COLUMNS``). ``right``: dropped and should be;
``wrong``: dropped and should stay; ``missed``: should be dropped and stayed. Precision and recall carry Wilson's 95 %
interval; a share of nothing is null.

On gold: ``contaminated`` (pairs of pages that repeat a benchmark item), ``duplicate_exact`` and ``duplicate_near``, and the
defects of pages, looked for in every pair that refiners get. On recorded replies: every reason that ``checks.py`` finds in
what a reply says; a reply that goes for another reason than the one written beside it counts as right all the same.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import model_validator

from webinstruct_assets.core.config import Section, load_yaml
from webinstruct_assets.core.intervals import wilson
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.llm.client import LlmReply
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.quality import match_gold, read_gold
from webinstruct_assets.stages.refinement.checks import check_reply
from webinstruct_assets.stages.refinement.defects import page_defect
from webinstruct_assets.stages.refinement.prompt import load_prompt

COLUMNS = (
    "measured on",
    "reason",
    "dropped",
    "right",
    "wrong",
    "missed",
    "precision",
    "precision 95 %",
    "recall",
    "recall 95 %",
)
# Reasons whose cases give the reply's question; those of the others give its answer.
OF_QUESTIONS = ("question_changed", "defect_not_self_contained")
REPLY_PROMPT = "refine-small.yaml"


class RecordedReply(Section):
    """A reply: the text that should be dropped or kept, and why. ``finish``: how the server ended it."""

    drop: str | None = None
    keep: str | None = None
    why: str
    correction: str | None = None
    finish: Literal["stop", "length"] = "stop"

    @model_validator(mode="after")
    def _one_verdict(self) -> "RecordedReply":
        if (self.drop is None) == (self.keep is None):
            raise ValueError("needs either drop or keep")
        return self


class RecordedPair(Section):
    """A pair and replies to it."""

    question: str
    answer: str
    replies: list[RecordedReply]


class RecordedReplies(Section):
    """A file of replies."""

    cases: list[RecordedPair]


class Judged(Section):
    """What became of a recorded reply. ``reason``: why it was dropped, "" for one that was kept."""

    expected: str
    wanted: Literal["drop", "keep"]
    reason: str
    detail: str
    reply: str
    why: str


def recorded(folder: Path) -> list[Judged]:
    """Every recorded reply with what the checks make of it; [] without files. Raises ConfigError for a wrong file."""
    shown = load_prompt(REPLY_PROMPT).system
    judged = []
    for file in sorted(folder.glob("*.yaml")):
        for case in load_yaml(file, RecordedReplies).cases:
            for reply in case.replies:
                text = reply.drop if reply.keep is None else reply.keep
                assert text is not None
                of_question = file.stem in OF_QUESTIONS
                body = {
                    "question": text if of_question else case.question,
                    "answer": case.answer if of_question else text,
                }
                outcome = check_reply(
                    case.question,
                    case.answer,
                    LlmReply(json.dumps({**body, "correction": reply.correction}), reply.finish, 0, 0),
                    prompt_text=shown,
                    corrections=reply.correction is not None,
                )
                judged.append(Judged(expected=file.stem, wanted="drop" if reply.keep is None else "keep", reason=outcome.reason,
                                     detail=outcome.detail, reply=text, why=reply.why))  # fmt: skip
    return judged


def on_replies(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """A row per reason of recorded replies."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for case in judged:
        if case.reason:
            counts[case.reason]["right" if case.wanted == "drop" else "wrong"] += 1
        if case.wanted == "drop":
            counts[case.expected]["found" if case.reason else "missed"] += 1
    return [_row("recorded replies", reason, **{"found": 0, **counts[reason]}) for reason in sorted(counts)]


def on_gold(ws: Workspace, key: PartitionKey) -> list[dict[str, Any]]:
    """The rows of a snapshot that gold knows, as far as its partitions are published; [] without gold."""
    file = ws.path(ws.config.crawl.demo_sources) / "gold.jsonl"
    gold = read_gold(file) if file.exists() else []
    extracted, clean, distinct = (
        ws.lake.manifest(Ref(name, key)) for name in ("extracted_qa", "decontaminated_qa", "deduplicated_qa")
    )
    rows: list[dict[str, Any]] = []
    if not extracted or not _knows(ws, extracted, gold):
        return rows
    if clean:
        rows += _contaminated(ws, extracted, clean, gold)
    if clean and distinct:
        rows += _duplicates(ws, clean, distinct, gold)
    if distinct:
        rows += _page_defects(_read(ws, distinct), gold)
    return rows


def replies_folder(ws: Workspace) -> Path:
    """Where recorded replies lie: beside the demo's gold."""
    return ws.path(ws.config.crawl.demo_sources) / "replies"


def table_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Rows of ``COLUMNS``."""
    for row in rows:
        intervals = [
            "" if row[name] is None else f"{row[name][0]:.2f} to {row[name][1]:.2f}"
            for name in ("precision_95", "recall_95")
        ]
        yield (*(row[name] for name in ("on", "reason", "dropped", "right", "wrong", "missed", "precision")), intervals[0], row["recall"], intervals[1])  # fmt: skip


def _row(
    on: str, reason: str, *, right: int = 0, wrong: int = 0, missed: int = 0, found: int | None = None
) -> dict[str, Any]:
    """``found``: how many of those that should go for this reason went, if that is not ``right``."""
    dropped, hits = right + wrong, right if found is None else found
    wanted = hits + missed
    return {
        "on": on, "reason": reason, "dropped": dropped, "right": right, "wrong": wrong, "missed": missed,
        "precision": round(right / dropped, 3) if dropped else None, "precision_95": wilson(right, dropped) if dropped else None,
        "recall": round(hits / wanted, 3) if wanted else None, "recall_95": wilson(hits, wanted) if wanted else None,
    }  # fmt: skip


def _knows(ws: Workspace, manifest: Manifest, gold: Sequence[Mapping[str, Any]]) -> bool:
    """Whether gold is of this snapshot's pages."""
    if not gold or not manifest.parts:
        return False
    pairs = pl.scan_parquet(ws.lake.part_paths(manifest), hive_partitioning=False)
    return pairs.filter(pl.col("url").is_in({entry["url"] for entry in gold})).head(1).collect().height > 0


def _read(ws: Workspace, manifest: Manifest) -> list[dict[str, Any]]:
    return list(ws.lake.read(manifest).iter_rows(named=True))


def _known(pairs: Iterable[Mapping[str, Any]], gold: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Id of a pair -> its gold pair, for those that have one."""
    wanted: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in gold:
        wanted[entry["url"]].append(entry)
    by_url: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for pair in pairs:
        by_url[pair["url"]].append(pair)
    return {
        own[match.pair]["id"]: wanted[url][match.gold]
        for url, own in by_url.items()
        for match in match_gold(own, wanted[url])
    }


def _contaminated(
    ws: Workspace, extracted: Manifest, clean: Manifest, gold: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    planted = {entry["url"] for entry in gold if entry["contaminated"]}
    kept = set(ws.lake.read(clean)["parent_id"])
    pages: dict[bool, set[str]] = {True: set(), False: set()}
    counts: Counter[str] = Counter()
    for pair in _read(ws, extracted):
        stays = pair["id"] in kept
        pages[stays].add(pair["url"])
        if not stays or pair["url"] in planted:
            counts["missed" if stays else "right" if pair["url"] in planted else "wrong"] += 1
    of_pages = {
        "right": len(pages[False] & planted),
        "wrong": len(pages[False] - planted),
        "missed": len(pages[True] & planted),
    }
    return [_row("demo gold", "contaminated", **counts), _row("demo gold", "contaminated (pages)", **of_pages)]


def _duplicates(
    ws: Workspace, clean: Manifest, distinct: Manifest, gold: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    known = _known(_read(ws, clean), gold)

    def original(identity: str) -> str:
        entry = known.get(identity)
        return (entry["duplicate_of"] or f"{entry['url']}#{entry['pair']}") if entry else identity

    counts: dict[str, Counter[str]] = {"duplicate_exact": Counter(), "duplicate_near": Counter()}
    gone = set()
    for member in pl.read_parquet(ws.lake.file(distinct, "clusters.parquet")).iter_rows(named=True):
        if member["reason"]:
            gone.add(member["id"])
            counts[member["reason"]]["right" if original(member["id"]) == original(member["kept"]) else "wrong"] += 1
    left: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for identity, entry in known.items():
        if identity not in gone:
            left[original(identity)].append(entry)
    for same in left.values():  # one of them may stay
        copies = sorted(entry["mirror_of"] is None for entry in same if entry["duplicate_of"])
        for reworded in copies[: len(same) - 1]:
            counts["duplicate_near" if reworded else "duplicate_exact"]["missed"] += 1
    return [_row("demo gold", reason, **tally) for reason, tally in counts.items()]


def _page_defects(pairs: Sequence[Mapping[str, Any]], gold: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    known = _known(pairs, gold)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        planted = known.get(pair["id"], {}).get("defect")
        found = page_defect(pair["question"], pair["answer"], completed=False)
        if found:
            counts[found[0]]["right" if planted else "wrong"] += 1
        if planted:
            counts[planted]["found" if found else "missed"] += 1
    return [_row("demo gold, as on the page", reason, **{"found": 0, **counts[reason]}) for reason in sorted(counts)]
