"""Asset ``seed_set``: exam-style pages against random pages of the crawl (paper §2.1).

In: WET files of the snapshot, the allow-list of hosts and URL patterns, the user's files. Out: labelled pages
(columns: ``stages.seeds.pages``). Every page read is a row or a reject: ``not_sampled``, ``empty_text``,
``duplicate_text`` (another page stands for it), ``on_listed_host`` (of a listed host, outside its listed paths:
neither positive nor negative), or what made a record unreadable.

Negatives are random crawl pages, as in the paper: a few of them are positives that nobody listed.
"""

from functools import partial
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import load_yaml, settings_of
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit, from_reference
from webinstruct_assets.core.urls import host_of, registrable_domain
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.crawl.wet import WetPage, wet_files
from webinstruct_assets.stages.seeds.allow_list import AllowList
from webinstruct_assets.stages.seeds.pages import SCHEMA, one_line, split_of, text_digest
from webinstruct_assets.stages.seeds.sampling import Verdict, check, chosen_files, sample
from webinstruct_assets.stages.seeds.user_files import read_user_pages

PREFIX = "sd"


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """Sizes and seed, the allow-list, and the digests of the user's files."""
    seeds = ws.config.seeds
    files = [ws.path(path) for path in seeds.user_files]
    return {
        **settings_of(seeds),
        "allow_list": settings_of(load_yaml(ws.path(seeds.allow_list), AllowList)),
        "user_files": [[path.name, digest_file(path) if path.exists() else "missing"] for path in files],
    }


def label_of(allow_list: AllowList, known: None, page: WetPage, domain: str) -> Verdict:
    """Positive where the allow-list says so, negative elsewhere."""
    source = allow_list.match(page.url)
    if source:
        return Verdict("positive", source)
    return Verdict("", "on_listed_host") if allow_list.entry(host_of(page.url)) else Verdict("negative", "random")


def run(job: Job) -> None:
    """The user's pages, then a uniform sample of the snapshot; refuses a set without enough of both classes."""
    seeds = job.ws.config.seeds
    allow_list = AllowList.model_validate(job.settings["allow_list"])
    given: dict[str, str] = {}
    for index, path in enumerate(seeds.user_files):
        unit, digests = _label_user_file(index, job.ws.path(path), seeds.seed, seeds.held_out, given)
        job.unit(f"user-{index}", partial(_same, unit))
        given |= digests
    every = wet_files(job.read("crawl_index"))
    files = chosen_files(every, seeds.max_wet_files, seeds.seed)
    sample(job, [(file, None) for file in files], partial(label_of, allow_list), seeds, given)
    job.metrics |= {"wet_files": len(every), "user_positives": len(given)}
    check(
        job,
        seeds,
        f"add hosts of this crawl to {seeds.allow_list} or files to `seeds.user_files` (it has"
        f" {len(seeds.user_files)}), raise `seeds.max_wet_files`, or reuse another snapshot's model with"
        " --model-from SNAPSHOT",
    )


def _same(unit: Unit) -> Unit:
    return unit


def _label_user_file(
    index: int, path: Path, seed: int, held_out: float, given: dict[str, str]
) -> tuple[Unit, dict[str, str]]:
    """A user's file as a unit, and the digests of its texts; copies of ``given`` or of its own are rejects."""
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    digests: dict[str, str] = {}

    def identity(number: int) -> str:
        return row_id(PREFIX, index, path.name, number)

    def unreadable(number: int, reason: str, detail: str) -> None:
        rejects.append(Reject(identity(number), "", reason, detail))

    for page in read_user_pages(path, unreadable):
        text = one_line(page.text)
        digest = text_digest(text)
        if not text or digest in given or digest in digests:
            reason = "duplicate_text" if text else "empty_text"
            unreadable(page.number, reason, f"{path.name} record {page.number} {page.url}".rstrip())
            continue
        digests[digest] = identity(page.number)
        rows.append(
            {
                "id": digests[digest],
                "parent_id": "",
                "url": page.url,
                "domain": registrable_domain(page.url),
                "label": "positive",
                "source": f"user:{path.name}",
                "offset": None,
                "split": split_of(seed, digest, held_out),
                "text": text,
            }
        )
    if not rows:
        found = ", ".join(sorted({reject.reason for reject in rejects})) or "no record"
        raise BadInput(f"seed file {path}: no page with text of its own in it ({found})", "correct `seeds.user_files`")
    return Unit(rows=rows, rejects=rejects, rows_in=len(rows) + len(rejects)), digests


SEED_SET = Stage(
    asset="seed_set",
    dimensions=("snapshot",),
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=lambda ws, key: [Ref("crawl_index", key)],
    settings=settings,
    sources=(
        "stages/seeds/*.py",
        "stages/crawl/wet.py",
        "stages/crawl/source.py",
        "stages/crawl/transport.py",
        "stages/crawl/plain_text.py",
        "core/warc.py",
    ),
    reuses=from_reference("seed_set"),
)
