"""Asset ``seed_set``: exam-style pages against random pages of the crawl (paper §2.1).

In: the snapshot's WET files, the allow-list of exam and quiz hosts, the user's files. Out: labelled pages
(columns: ``stages.seeds.pages``). Every page read is a row or a reject (``not_sampled``, ``empty_text``,
``duplicate_text``, or what made a record unreadable).

Negatives are random crawl pages, as in the paper: a few of them are positives that nobody listed.
"""

from functools import partial
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import Section, load_yaml, settings_of
from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.urls import host_of, registrable_domain
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.crawl.wet import WetFile, read_wet, wet_files
from webinstruct_assets.stages.seeds.pages import SCHEMA, one_line, split_of, uniform
from webinstruct_assets.stages.seeds.user_files import read_user_pages


class AllowedHost(Section):
    """A host whose pages are exam-style, and the reason for trusting it."""

    host: str
    reason: str


class AllowList(Section):
    """``config/seed_hosts.yaml``. A host covers its subdomains."""

    hosts: list[AllowedHost]

    def match(self, host: str) -> str | None:
        """The listed host that covers ``host``."""
        return next((item.host for item in self.hosts if host == item.host or host.endswith("." + item.host)), None)


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """Sizes and seed, and the digests of the files read."""
    seeds = ws.config.seeds
    files = [ws.path(path) for path in seeds.user_files]
    return {
        **settings_of(seeds),
        "allow_list": settings_of(load_yaml(ws.path(seeds.allow_list), AllowList)),
        "user_files": [[path.name, digest_file(path) if path.exists() else "missing"] for path in files],
    }


def run(job: Job) -> None:
    """Labels pages file by file; refuses a set without enough positives."""
    seeds = job.ws.config.seeds
    allow_list = AllowList.model_validate(job.settings["allow_list"])
    source = CrawlSource(job.ws.crawl_root(job.key["snapshot"]))
    files = wet_files(job.read("crawl_index"))
    job.progress.start(len(files), "WET files")
    per_file = max(1, seeds.max_negatives // len(files)), max(1, seeds.max_positives // len(files))
    for file in files:
        job.unit(
            file.unit,
            partial(_label_file, source, file, allow_list, per_file, seeds.seed, seeds.held_out),
        )
        job.progress.advance(1)
    for index, path in enumerate(seeds.user_files):
        job.unit(f"user-{index}", partial(_label_user_file, job.ws.path(path), seeds.seed, seeds.held_out))
    positives, negatives = int(job.count("positives")), int(job.count("negatives"))
    job.metrics |= {"positives": positives, "negatives": negatives, "held_out": int(job.count("held_out"))}
    if positives < seeds.min_positives:
        raise QualityGate(
            f"seed_set {job.key}: {positives} positive pages, {seeds.min_positives} needed"
            f" (hosts of {seeds.allow_list} found in the crawl, plus {len(seeds.user_files)} user files)",
            "add hosts of this crawl to the allow-list, add `seeds.user_files`, or reuse another snapshot's model"
            " with --model-from SNAPSHOT",
        )
    if negatives < seeds.min_positives:
        raise QualityGate(
            f"seed_set {job.key}: only {negatives} negative pages",
            "use a larger crawl, or raise `seeds.max_negatives`",
        )


def _label_file(
    source: CrawlSource,
    file: WetFile,
    allow_list: AllowList,
    limits: tuple[int, int],
    seed: int,
    held_out: float,
) -> Unit:
    max_negatives, max_positives = limits
    rejects: list[Reject] = []
    candidates: dict[str, list[tuple[float, dict[str, Any]]]] = {"positive": [], "negative": []}
    seen: set[str] = set()
    for page in read_wet(source, file, "sd", rejects):
        identity, text = row_id("sd", file.id, page.offset), one_line(page.text)
        if not text or text in seen:
            rejects.append(Reject(identity, file.id, "duplicate_text" if text else "empty_text", page.url))
            continue
        seen.add(text)
        listed = allow_list.match(host_of(page.url))
        label = "positive" if listed else "negative"
        row = {
            "id": identity,
            "parent_id": file.id,
            "url": page.url,
            "domain": registrable_domain(page.url),
            "label": label,
            "source": f"allow_list:{listed}" if listed else "random",
            "offset": page.offset,
            "split": split_of(seed, text, held_out),
            "text": text,
        }
        candidates[label].append((uniform(seed, page.url, page.offset), row))
    rows = []
    for label, limit in (("positive", max_positives), ("negative", max_negatives)):
        ordered = sorted(candidates[label], key=lambda item: item[0])
        rows += [row for _, row in ordered[:limit]]
        rejects += [Reject(row["id"], file.id, "not_sampled", row["url"]) for _, row in ordered[limit:]]
    rows.sort(key=lambda row: row["offset"])
    return Unit(rows=rows, rejects=rejects, rows_in=len(rows) + len(rejects), counts=_counts(rows))


def _label_user_file(path: Path, seed: int, held_out: float) -> Unit:
    rows, rejects = [], []
    for number, url, raw in read_user_pages(path):
        identity, text = row_id("sd", path.name, number), one_line(raw)
        if not text:
            rejects.append(Reject(identity, "", "empty_text", f"{path.name} record {number}"))
            continue
        rows.append(
            {
                "id": identity,
                "parent_id": "",
                "url": url,
                "domain": registrable_domain(url),
                "label": "positive",
                "source": f"user:{path.name}",
                "offset": None,
                "split": split_of(seed, text, held_out),
                "text": text,
            }
        )
    return Unit(rows=rows, rejects=rejects, rows_in=len(rows) + len(rejects), counts=_counts(rows))


def _counts(rows: list[dict[str, Any]]) -> dict[str, float]:
    labels = [row["label"] for row in rows]
    return {
        "positives": labels.count("positive"),
        "negatives": labels.count("negative"),
        "held_out": [row["split"] for row in rows].count("held_out"),
    }


SEED_SET = Stage(
    asset="seed_set",
    dimensions=("snapshot",),
    prefix="sd",
    schema=SCHEMA,
    run=run,
    inputs=lambda ws, key: [Ref("crawl_index", key)],
    settings=settings,
    sources=("stages/seeds/*.py", "stages/crawl/wet.py", "core/warc.py"),
    reusable=True,
)
