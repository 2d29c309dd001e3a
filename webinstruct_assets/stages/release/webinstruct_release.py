"""Asset ``webinstruct_release``: a snapshot's dataset as the files that one publishes.

In: ``webinstruct``, and the manifests of all that it was made from. Out, as files of the partition: ``train.parquet``,
``messages.jsonl`` (OpenAI's chat form), ``sharegpt.jsonl``, ``README.md`` (the dataset card) and its charts. The same
manifests give the same bytes. What the dataset cost stands in the metrics only: it differs from run to run.

Columns: ``id``, ``parent_id`` ("": a file has no one row above it), ``file``, ``bytes``, ``sha256``, ``pairs`` (in it).
The rows read are the pairs; what was taken down since ``webinstruct`` was made is a reject (``taken_down``).
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from webinstruct_assets.core.config import settings_of
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import write_atomically
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.takedown import REASON
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.release.ancestry import ancestors, cost
from webinstruct_assets.stages.release.dataset_card import card, pie
from webinstruct_assets.stages.release.steps import steps

PREFIX = "rl"
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "file": pl.String(),
    "bytes": pl.Int64(),
    "sha256": pl.String(),
    "pairs": pl.Int64(),
}


def run(job: Job) -> None:
    """Writes the files, then a row for each."""
    dataset = job.read("webinstruct").sort("id")
    taken = job.ws.lake.takedowns.mask(dataset)
    rows = dataset if taken is None else dataset.filter(~taken)
    rejects = dataset.clear() if taken is None else dataset.filter(taken)
    (manifest,) = job.manifests("webinstruct")
    manifests = ancestors(job.ws.lake, [manifest])
    files = exports(rows)
    files["README.md"] = (card(rows, manifests, job.key["snapshot"]).encode(), 0)
    files["subjects.svg"] = (pie(Counter(rows["subject"].to_list()), "Subjects"), 0)
    files["source_types.svg"] = (pie(Counter(rows["source_type"].to_list()), "Source types"), 0)
    for name, (data, _) in files.items():
        write_atomically(job.folder / name, data)

    def described() -> Unit:
        found = [
            {
                "id": row_id(PREFIX, manifest.data_version, name),
                "parent_id": "",
                "file": name,
                "bytes": len(data),
                "sha256": digest_file(job.folder / name),
                "pairs": pairs,
            }
            for name, (data, pairs) in sorted(files.items())
        ]
        gone = [Reject(row["id"], row["parent_id"], REASON, row["url"]) for row in rejects.iter_rows(named=True)]
        return Unit(rows=found, rows_in=dataset.height, rows_kept=rows.height, rejects=gone)

    job.unit("files", described)
    job.rows = rows.height
    funnel = steps(manifests)
    job.metrics |= {
        "pairs": rows.height,
        "funnel": funnel,
        "rows_by_stage": {step["asset"]: step["rows_out"] for step in funnel},
        "cost": cost(manifests, job.ws.config.costs, rows.height),
        "prices": settings_of(job.ws.config.costs),
    }


def exports(rows: pl.DataFrame) -> dict[str, tuple[bytes, int]]:
    """File name -> (content, pairs in it) of the data files, rows in the order given."""
    import io

    stream = io.BytesIO()
    rows.write_parquet(stream, compression="zstd")
    pairs = list(rows.select("id", "question", "answer").iter_rows())
    messages = [
        {"id": name, "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for name, question, answer in pairs
    ]
    conversations = [
        {"id": name, "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}
        for name, question, answer in pairs
    ]
    return {
        "train.parquet": (stream.getvalue(), rows.height),
        "messages.jsonl": (_lines(messages), rows.height),
        "sharegpt.jsonl": (_lines(conversations), rows.height),
    }


def _lines(records: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """The snapshot's dataset."""
    return [Ref("webinstruct", key)]


WEBINSTRUCT_RELEASE = Stage(
    asset="webinstruct_release",
    dimensions=("snapshot",),
    whole=True,
    by_profile=True,
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=lambda ws, key: {},
    sources=("stages/release/webinstruct_release.py", "stages/release/dataset_card.py", "stages/release/ancestry.py",
             "stages/release/card/*", "stages/release/steps.py", "stages/release/chain.py", "core/cost.py",
             "core/markdown.py"),
)  # fmt: skip
