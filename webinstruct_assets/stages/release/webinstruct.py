"""Asset ``webinstruct``: the merged dataset of one snapshot, labelled, each row with its way back to a WARC record.

Partitioned by snapshot; reads ``refined_qa`` of every refiner of the environment, merges them (``merge.py``), and joins
the lineage. Exact duplicates become rejects ``duplicate_exact`` that name the row that stays, the first in order of
preference; with ``release.merge: best`` other refiners' versions are rejects ``other_refiner_kept``.
Subject and source type come from rules where these are clear and from ``release.subject_model`` otherwise; the level comes
from rules, and otherwise from ``release.level_model`` where one is named: small models guess it wrongly. The accuracy on the
demo's gold files, where these know the URL, stands in the metrics, and that of the rules on all gold pairs.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.intervals import wilson
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lineage import with_ancestors
from webinstruct_assets.core.llm.client import LlmRequest
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.urls import host_of
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.duplicates.exact import pair_digest
from webinstruct_assets.stages.release.chain import CHAIN, LINEAGE
from webinstruct_assets.stages.release.labels import label_request, load_label_prompt, read_label
from webinstruct_assets.stages.release.levels import LEVELS, level_by_rule
from webinstruct_assets.stages.release.merge import best, pool
from webinstruct_assets.stages.release.source_types import SOURCE_TYPES, source_type_by_rule
from webinstruct_assets.stages.release.subjects import SUBJECTS, subject_by_rule

# id: wi-…      parent_id: rq-…      refiner: whose refinement it is      answer_words: words separated by spaces
# subject: one of SUBJECTS           source_type: education | forum | other, one per host
# level: one of LEVELS, or unknown where no rule speaks and no release.level_model is named
# subject_by, source_type_by, level_by: rule | llm, llm_failed where the LLM gave no usable label (then Other, other, unknown),
# or none where nobody was asked
# language: ISO 639-1, "" where the words do not tell      agreed: two refiners or more end in the same final answer
# final_answer, answer_type: as refinement compared it      LINEAGE: its way back
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "domain": pl.String(),
    "question": pl.String(),
    "answer": pl.String(),
    "refiner": pl.String(),
    "subject": pl.String(),
    "subject_by": pl.String(),
    "source_type": pl.String(),
    "source_type_by": pl.String(),
    "level": pl.String(),
    "level_by": pl.String(),
    "language": pl.String(),
    "status": pl.String(),
    "agreed": pl.Boolean(),
    "final_answer": pl.String(),
    "answer_type": pl.String(),
    "question_words": pl.Int32(),
    "answer_words": pl.Int32(),
    **LINEAGE,
}
LANGUAGE_LETTERS = 40  # a guess on less is worth nothing
ROWS_PER_UNIT = 512
URLS_PER_HOST = 3
TOP_DOMAINS = 20
_FORMULA = re.compile(r"\$\$?[^$]*\$\$?|\\\(.*?\\\)|\\\[.*?\\\]|https?://\S+", re.DOTALL)
Label = tuple[str, str]  # (label, decided by)
# The demo's gold names subjects in one word.
GOLD_SUBJECTS = {
    "mathematics": "Mathematics", "physics": "Physics", "chemistry": "Chemistry", "biology": "Biology",
    "computing": "Computer Science/Technology", "economics": "Economics/Business",
}  # fmt: skip


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """The snapshot's refined pairs of every refiner in the environment, and what they descend from."""
    refined = [
        Ref("refined_qa", PartitionKey.of({"refiner": name, "snapshot": key["snapshot"]}))
        for name in sorted(set(ws.config.refiners))
    ]
    return [*refined, *(Ref(asset, key) for asset in CHAIN)]


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """The labelling models and the order in which refiners are preferred; which are pooled is in the inputs."""
    release = ws.config.release
    return {
        "subject_model": ws.model_identity(release.subject_model),
        "level_model": ws.model_identity(release.level_model) if release.level_model else None,
        "refiners": list(ws.config.refiners),
        "merge": release.merge,
    }


def run(job: Job) -> None:
    """Merges and de-duplicates over all rows, labels hosts, then labels and writes rows in units."""
    pooled = pool(job)
    merged, left_out = best(pooled) if job.settings["merge"] == "best" else (pooled, [])
    if left_out:
        job.unit("other-refiners", lambda: Unit(rows=[], rows_in=len(left_out), rejects=left_out))
    rows = with_ancestors(job, with_representatives(merged), CHAIN)
    spent: Counter[str] = Counter()  # of the hosts; they are labelled anew when a run is resumed
    source_types = _source_types(job, rows, spent)
    ordered = rows.sort("id")
    job.progress.start(rows.height, "pairs")
    for number, start in enumerate(range(0, ordered.height, ROWS_PER_UNIT)):
        part = ordered[start : start + ROWS_PER_UNIT]
        job.unit(f"{number:05}", partial(_unit, job, part, source_types))
    job.metrics |= {name: spent[name] + int(job.count(name)) for name in ("tokens_in", "tokens_out")}
    parts = sorted(job.folder.glob("part-*.parquet"))
    job.metrics |= statistics(pl.read_parquet(parts) if parts else pl.DataFrame(schema=SCHEMA))
    job.metrics |= _accuracy(job, parts)


def with_representatives(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with a column ``representative``: the id of the first row with the same digest (its own if it is that)."""
    digests = [pair_digest(question, answer) for question, answer in rows.select("question", "answer").iter_rows()]
    return rows.with_columns(pl.Series("digest", digests, dtype=pl.String)).with_columns(
        pl.col("id").first().over("digest").alias("representative")
    ).drop("digest")  # fmt: skip


def _unit(job: Job, part: pl.DataFrame, source_types: Mapping[str, Label]) -> Unit:
    kept = part.filter(pl.col("id") == pl.col("representative"))
    rejects = [
        Reject(
            row["id"],
            row["parent_id"],
            "duplicate_exact",
            f"same question and answer as {row_id('wi', row['representative'])} ({row['representative']})",
        )
        for row in part.filter(pl.col("id") != pl.col("representative")).iter_rows(named=True)
    ]
    job.progress.advance(len(rejects), {"duplicate_exact": len(rejects)})
    records = list(kept.iter_rows(named=True))
    spent: Counter[str] = Counter()
    subjects, levels = _subjects(job, records, spent), _levels(job, records, spent)
    copied = ("url", "domain", "question", "answer", "refiner", "status", "agreed", "answer_type", *LINEAGE)
    rows = []
    for record, (subject, subject_by), (level, level_by) in zip(records, subjects, levels, strict=True):
        source_type, source_type_by = source_types[host_of(record["url"])]
        rows.append({
            **{name: record[name] for name in copied}, "id": row_id("wi", record["id"]), "parent_id": record["id"],
            "subject": subject, "subject_by": subject_by, "source_type": source_type, "source_type_by": source_type_by,
            "level": level, "level_by": level_by, "language": language_of(f"{record['question']}\n{record['answer']}"),
            "final_answer": record["final_after"], "question_words": len(record["question"].split()),
            "answer_words": len(record["answer"].split()),
        })  # fmt: skip
    return Unit(rows=rows, rows_in=part.height, rejects=rejects, counts=spent)


def _subjects(job: Job, records: Sequence[Mapping[str, Any]], spent: Counter[str]) -> list[Label]:
    prompt = load_label_prompt("subject.yaml")
    ruled = [subject_by_rule(record["question"], record["answer"]) for record in records]
    job.progress.advance(sum(subject is not None for subject in ruled))
    requests = [
        label_request(prompt, SUBJECTS, f"{record['question']}\n{record['answer']}", record["id"])
        for record, subject in zip(records, ruled, strict=True)
        if subject is None
    ]
    asked = iter(_ask(job, job.ws.config.release.subject_model, requests, SUBJECTS, "Other", spent, count=True))
    return [(subject, "rule") if subject else next(asked) for subject in ruled]


def _levels(job: Job, records: Sequence[Mapping[str, Any]], spent: Counter[str]) -> list[Label]:
    model = job.ws.config.release.level_model
    ruled = [level_by_rule(record["url"]) for record in records]
    if model is None:
        return [(level, "rule") if level else ("unknown", "none") for level in ruled]
    prompt = load_label_prompt("level.yaml")
    requests = [
        label_request(prompt, LEVELS, f"{record['question']}\n{record['answer']}", record["id"])
        for record, level in zip(records, ruled, strict=True)
        if level is None
    ]
    asked = iter(_ask(job, model, requests, LEVELS, "unknown", spent))
    return [(level, "rule") if level else next(asked) for level in ruled]


def language_of(text: str) -> str:
    """ISO 639-1 code by the words outside formulas; "" where there are too few letters."""
    prose = _FORMULA.sub(" ", text)
    if sum(character.isalpha() for character in prose) < LANGUAGE_LETTERS:
        return ""
    from py3langid.langid import classify

    return str(classify(prose[:2000])[0])


def _source_types(job: Job, rows: pl.DataFrame, spent: Counter[str]) -> dict[str, Label]:
    """Host -> source type; few hosts, so all are decided before the first unit (answered requests are remembered)."""
    pages: dict[str, list[str]] = defaultdict(list)
    questions: dict[str, str] = {}
    for url, question in rows.select("url", "question").sort("url", "question").iter_rows():
        host = host_of(url)
        questions.setdefault(host, question)
        if url not in pages[host][-1:]:
            pages[host].append(url)
    ruled = {host: source_type_by_rule(host, urls) for host, urls in sorted(pages.items())}
    prompt = load_label_prompt("source_type.yaml")
    undecided = [host for host, source_type in ruled.items() if source_type is None]
    requests = []
    for host in undecided:
        paths = "\n".join("- /" + url.split("/", 3)[-1] for url in pages[host][:URLS_PER_HOST])
        requests.append(
            label_request(
                prompt, SOURCE_TYPES, f"Host: {host}\nPages:\n{paths}\nA question there: {questions[host]}", host
            )
        )
    model = job.ws.config.release.subject_model
    job.progress.start(len(undecided), "hosts")
    asked = dict(zip(undecided, _ask(job, model, requests, SOURCE_TYPES, "other", spent, count=True), strict=True))
    return {host: (source_type, "rule") if source_type else asked[host] for host, source_type in ruled.items()}


def _ask(
    job: Job,
    model: str,
    requests: Sequence[LlmRequest],
    labels: Sequence[str],
    default: str,
    spent: Counter[str],
    *,
    count: bool = False,
) -> list[Label]:
    if not requests:
        return []
    with job.ws.llm(model, job.log) as client:
        replies = client.complete(requests, on_reply=lambda index, reply: job.progress.advance(int(count)))
    for reply in replies:
        spent.update(tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)
    read = [read_label(reply, labels) for reply in replies]
    return [(label, "llm") if label else (default, "llm_failed") for label in read]


def statistics(rows: pl.DataFrame) -> dict[str, Any]:
    """Counts and lengths of the dataset, largest first (paper §2.4)."""
    counts = {
        f"by_{name}": dict(Counter(rows[name].to_list()).most_common())
        for name in ("subject", "source_type", "refiner", "level", "language", "status")
    }
    decided = {
        name: dict(sorted(Counter(rows[name].to_list()).items()))
        for name in ("subject_by", "source_type_by", "level_by")
    }
    domains = sorted(Counter(rows["domain"].to_list()).items(), key=lambda entry: (-entry[1], entry[0]))[:TOP_DOMAINS]
    return {
        "agreed": int(rows["agreed"].sum()), "pairs_merged": rows["pair_id"].n_unique(), **counts, **decided, "hosts": len({host_of(url) for url in rows["url"]}), "domains": rows["domain"].n_unique(),
        "top_domains": [{"domain": name, "pairs": number} for name, number in domains],
        **{name: _lengths(rows[name].to_list()) for name in ("question_words", "answer_words")},
    }  # fmt: skip


def _lengths(lengths: list[int]) -> dict[str, float]:
    if not lengths:
        return {}
    ordered = sorted(lengths)
    shares = {f"p{share}": ordered[len(ordered) * share // 100] for share in (10, 50, 90)}
    return {**shares, "mean": round(sum(ordered) / len(ordered), 1), "max": ordered[-1]}


def _accuracy(job: Job, parts: list[Path]) -> dict[str, Any]:
    """Share of right labels per way of deciding, over the URLs and hosts that the gold files know; {} without them."""
    folder = job.ws.path(job.ws.config.crawl.demo_sources)
    rows = pl.read_parquet(parts) if parts else pl.DataFrame(schema=SCHEMA)
    accuracy, rules = {}, []
    if (folder / "gold.jsonl").exists():
        gold = pl.read_ndjson(folder / "gold.jsonl", infer_schema_length=None).with_columns(
            pl.col("subject").replace(GOLD_SUBJECTS)
        )
        rules = rules_on_gold(gold)
        for label in ("subject", "level"):
            named = gold.select("url", pl.col(label).alias("gold")).drop_nulls().unique("url")
            accuracy[label] = right_share(rows.filter(pl.col(f"{label}_by") != "none").join(named, on="url"), label)
    if (folder / "domains.jsonl").exists():
        gold = (
            pl.read_ndjson(folder / "domains.jsonl", infer_schema_length=None)
            .select("host", pl.col("source_type").alias("gold"))
            .drop_nulls()
        )
        hosts = rows.with_columns(pl.col("url").map_elements(host_of, return_dtype=pl.String).alias("host"))
        accuracy["source_type"] = right_share(hosts.unique("host").join(gold, on="host"), "source_type")
    return {"accuracy_on_gold": accuracy, "label_rules_on_gold": rules} if any(accuracy.values()) else {}


def rules_on_gold(gold: pl.DataFrame) -> list[dict[str, Any]]:
    """What the rules for subject and level say of every gold pair: how many they label, and how many of these rightly."""
    rules = {
        "subject": lambda pair: subject_by_rule(pair["question"], pair["answer"]),
        "level": lambda pair: level_by_rule(pair["url"]),
    }
    rows = []
    for label, rule in rules.items():
        said = [(rule(pair), pair[label]) for pair in gold.filter(pl.col(label).is_not_null()).iter_rows(named=True)]
        labelled = [one == other for one, other in said if one]
        low, high = wilson(sum(labelled), len(labelled))
        rows.append({
            "label": label, "gold_pairs": len(said), "labelled": len(labelled), "right": sum(labelled),
            "coverage": round(len(labelled) / len(said), 3) if said else None,
            "accuracy": round(sum(labelled) / len(labelled), 3) if labelled else None, "low": round(low, 3), "high": round(high, 3),
        })  # fmt: skip
    return rows


def right_share(rows: pl.DataFrame, label: str) -> dict[str, Any]:
    """``rows`` have ``label``, ``<label>_by`` and ``gold``: decided by -> number and share of right labels."""
    by = rows.group_by(f"{label}_by").agg(
        pl.len().alias("labels"), (pl.col(label) == pl.col("gold")).mean().alias("accuracy")
    )
    return {
        row[f"{label}_by"]: {"labels": row["labels"], "accuracy": round(row["accuracy"], 3)}
        for row in by.sort(f"{label}_by").iter_rows(named=True)
    }


WEBINSTRUCT = Stage(
    asset="webinstruct",
    dimensions=("snapshot",),
    by_profile=True,
    prefix="wi",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=(
        *(f"stages/release/{name}.py" for name in ("webinstruct", "chain", "merge", "labels", "levels", "subjects")),
        "stages/release/source_types.py",
        "core/lineage.py",
        "stages/release/prompts/*",
        "stages/release/rules/*",
        "stages/duplicates/exact.py",
        "stages/refinement/answers.py",
        "stages/decontamination/words.py",
    ),
)
