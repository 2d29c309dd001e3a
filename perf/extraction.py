"""What pointing saves against retyping, and what we cost against plain requests to the same vLLM.

python -m perf.extraction [runs] [requests]

On the demo pages of the workspace (``webinstruct demo`` first). Tokens: every gold pair that stands word by word on its
page, as the minimal JSON that points at its lines against its text alone, which retyping has to write at least; by the
model's own tokenizer. Throughput: the same requests through ``LlmClient`` (keys, ledger, retries) and through a bare
asyncio loop over HTTP, interleaved on one server whose prefix cache is warm for both; a fresh ledger in each run. Then
the whole stage ``refined_qa``, from pairs to its manifest, against its requests alone, in the same way: with as many units
as would leave the server idle between them if it waited for each.
"""

import asyncio
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from copy import copy
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.llm.client import LlmClient, LlmRequest
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.duplicates.deduplicated_qa import DEDUPLICATED_QA
from webinstruct_assets.stages.extraction.extracted_qa import page_budget
from webinstruct_assets.stages.extraction.lines import Cut, cuts, line_spans
from webinstruct_assets.stages.extraction.prompt import line_costs, load_prompt, messages_for
from webinstruct_assets.stages.extraction.quality import read_gold
from webinstruct_assets.stages.extraction.reading import read_reply
from webinstruct_assets.stages.pages.document import Span
from webinstruct_assets.stages.pages.markup import Finder
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.pages.questions import open_question
from webinstruct_assets.stages.refinement import refined_qa
from webinstruct_assets.stages.refinement.prompt import Requests
from webinstruct_assets.stages.refinement.prompt import load_prompt as load_refiner_prompt
from webinstruct_assets.stages.refinement.refined_qa import REFINED_QA

LONG = 250  # tokens of a pair's text
KEY = PartitionKey.of({"snapshot": "local-demo"})
MAX_TOKENS = 64
REFINER = "smollm2-format"
REFINED_AT_A_TIME = 8


def tokens(ws: Workspace, pages: pl.DataFrame, model: Path) -> None:
    """Prints the output tokens of both modes over gold, with their distribution."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    texts = dict(pages.select("url", "text").iter_rows())
    gold = [entry for entry in read_gold(ws.path(ws.config.crawl.demo_sources) / "gold.jsonl") if entry["url"] in texts]
    entries: dict[str, list[tuple[str, int]]] = {}
    for entry in gold:
        text = texts[entry["url"]]
        lines = line_spans(text)
        where = [_lines(Finder(text), lines, entry[name]) for name in ("question", "answer")]
        if all(where):
            pointed = json.dumps({"question": where[0], "answer": where[1], "kind": "solution"}, separators=(",", ":"))
            retyped = len(tokenizer.encode(f"{entry['question']}\n{entry['answer']}").ids)
            entries.setdefault(entry["url"], []).append((pointed, retyped))
    costs = []
    for pairs in entries.values():
        whole = len(tokenizer.encode(f'{{"pairs":[{",".join(pointed for pointed, _ in pairs)}]}}').ids)
        costs += [(whole / len(pairs), retyped) for _, retyped in pairs]
    print(f"\n{len(costs)} of {len(gold)} gold pairs stand word by word on their page; output tokens by {model.name}")
    for name, chosen in (
        ("all pairs", costs),
        (f"pairs of at least {LONG} tokens", [cost for cost in costs if cost[1] >= LONG]),
    ):
        ratios = sorted(pointed / retyped for pointed, retyped in chosen)
        total = sum(pointed for pointed, _ in chosen) / sum(retyped for _, retyped in chosen)
        at = [ratios[int(share * (len(ratios) - 1))] for share in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)]
        print(
            f"{name:<28} {len(chosen):>4}  pointing {statistics.mean(p for p, _ in chosen):.1f} per pair, retyping "
            f"{statistics.mean(r for _, r in chosen):.1f}; ratio of totals 1/{1 / total:.1f}\n"
            f"{'':<28} ratio of pairs: min {at[0]:.3f}, p10 {at[1]:.3f}, p25 {at[2]:.3f}, median {at[3]:.3f}, p75 {at[4]:.3f}, "
            f"p90 {at[5]:.3f}, max {at[6]:.3f}"
        )


def _lines(finder: Finder, lines: list[Span], text: str) -> str:
    """The lines that hold a text, as a reply names them; "" where it does not stand there."""
    key = Finder.key(text)
    at = finder.find(key)
    if at < 0:
        return ""
    span = finder.span(at, at + len(key))
    numbers = [number for number, line in enumerate(lines, 1) if line.start < span.end and span.start < line.end]
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


def requests_of(
    ws: Workspace, pages: pl.DataFrame, count: int, mode: str
) -> list[tuple[LlmRequest, dict[str, Any], Cut]]:
    """Requests of the extraction stage for pages that ask, whether or not rules explain them."""
    prompt = load_prompt(mode)
    tokens_of = ws.token_counts(ws.config.extraction.model, print)
    budget = page_budget(ws, prompt, tokens_of)
    found = []
    for row in pages.sort("id").to_dicts():
        lines = line_spans(row["text"])
        asking = [number for number, line in enumerate(lines, 1) if open_question(row["text"][line.start : line.end])]
        for cut in cuts(row["text"], lines, line_costs(prompt, row["text"], lines, tokens_of), budget, asking)[:1]:
            messages = messages_for(prompt, row["text"], lines, cut)
            found.append((LlmRequest(messages=messages, max_tokens=MAX_TOKENS, json_schema=prompt.schema), row, cut))
    random.Random(0).shuffle(found)
    return found[:count]


def straight(client: LlmClient, requests: list[LlmRequest]) -> int:
    """The same bodies, as many in flight, without anything of ours; returns output tokens."""
    import httpx

    async def run() -> int:
        queue = iter(requests)
        total = 0

        async def worker(http: httpx.AsyncClient) -> None:
            nonlocal total
            for request in queue:
                schema = {"name": "reply", "schema": request.json_schema, "strict": True}
                body = {
                    "model": client.model, "messages": request.messages, "max_tokens": request.max_tokens,
                    "temperature": request.temperature, "top_p": request.top_p, "seed": request.seed,
                    "response_format": {"type": "json_schema", "json_schema": schema},
                }  # fmt: skip
                answer = await http.post(f"{client.base_url}/chat/completions", json=body)
                answer.raise_for_status()
                total += answer.json()["usage"]["completion_tokens"]

        async with httpx.AsyncClient(timeout=client.timeout, trust_env=False) as http:
            await asyncio.gather(*(worker(http) for _ in range(min(client.concurrency, len(requests)))))
        return total

    return asyncio.run(run())


def throughput(ws: Workspace, pages: pl.DataFrame, runs: int, count: int) -> None:
    """Prints requests per second of both ways, their ratio with its interval, and our process's CPU share."""
    asked = requests_of(ws, pages, count, "point")
    requests = [request for request, _, _ in asked]
    with ws.llm(ws.config.extraction.model, print) as leased, tempfile.TemporaryDirectory() as folder:

        def ours(number: int) -> tuple[float, float]:
            ledger = Ledger(Path(folder) / f"{number}.sqlite")
            client = LlmClient(leased.endpoint, leased.model_identity, ledger, concurrency=leased.concurrency)
            start, cpu = time.perf_counter(), time.process_time()
            replies = client.complete(requests)
            for (_, row, cut), reply in zip(asked, replies, strict=True):
                read_reply(
                    "point", row["text"], line_spans(row["text"]), cut, reply.text, finish_reason=reply.finish_reason
                )
            seconds, used = time.perf_counter() - start, time.process_time() - cpu
            assert client.usage.from_ledger < len(replies) / 10 and not any(reply.error for reply in replies)
            ledger.close()
            return seconds, used

        straight(leased, requests)  # fills the prefix cache
        ours(-1)  # imports what a client needs
        ratios, rates, shares = [], [], []
        for number in range(runs):
            order = ("ours", "straight") if number % 2 else ("straight", "ours")
            seconds: dict[str, float] = {}
            for way in order:
                if way == "ours":
                    seconds[way], used = ours(number)
                    shares.append(used / (seconds[way] * (os.cpu_count() or 1)))
                else:
                    start = time.perf_counter()
                    straight(leased, requests)
                    seconds[way] = time.perf_counter() - start
            rates.append(len(requests) / seconds["ours"])
            ratios.append(seconds["straight"] / seconds["ours"])
        ratios.sort()
        print(
            f"\n{len(requests)} requests, {runs} interleaved runs: {statistics.median(rates):.2f} requests/s through our client, "
            f"{statistics.median(ratios):.3f} of the throughput straight to vLLM (runs {ratios[0]:.3f} to {ratios[-1]:.3f})\n"
            f"our process used {100 * statistics.median(shares):.1f} % of the machine's CPU (at most {100 * max(shares):.1f} %)"
        )
        for mode in ("point", "rewrite"):
            sample = requests_of(ws, pages, 8, mode)
            replies = leased.complete([request for request, _, _ in sample])
            found = sum(
                len(
                    read_reply(
                        mode, row["text"], line_spans(row["text"]), cut, reply.text, finish_reason=reply.finish_reason
                    ).pairs
                )
                for (_, row, cut), reply in zip(sample, replies, strict=True)
            )
            spent = sum(reply.tokens_in for reply in replies), sum(reply.tokens_out for reply in replies)
            each = (
                f"{spent[0] / found:.0f} in and {spent[1] / found:.0f} out per pair"
                if found
                else "no usable pair from this model"
            )
            print(
                f"{mode:<8} {len(replies)} requests, {spent[0]} tokens in, {spent[1]} out (at most {MAX_TOKENS} each); {found} pairs, {each}"
            )


def refinement(ws: Workspace, runs: int, count: int) -> None:
    """Prints what share of the throughput straight to vLLM the stage reaches."""
    config = ws.files.refiners[REFINER].model_copy(
        update={"max_pairs": count, "max_output_tokens": MAX_TOKENS, "retries": 0}
    )
    model = ws.config.models[config.model].model_copy(update={"concurrency": REFINED_AT_A_TIME})
    files = copy(ws.files)
    files.environment = ws.config.model_copy(update={"models": {config.model: model}})
    files.refiners = {REFINER: config}
    refined_qa.PAIRS_PER_UNIT = REFINED_AT_A_TIME
    key = PartitionKey.of({"refiner": REFINER, "snapshot": KEY["snapshot"]})
    sized = Requests(
        load_refiner_prompt(config.prompt), config, ws.token_counts(config.model, print), model.max_model_len
    )
    pairs = ws.lake.read(ws.lake.require(DEDUPLICATED_QA.ref(KEY), "perf.extraction")).sort("id").to_dicts()
    built = [sized.build(pair, "") for pair in pairs]
    requests = [request for request in built if isinstance(request, LlmRequest)][:count]
    with ws.llm(config.model, print) as leased, tempfile.TemporaryDirectory() as folder:
        leased.concurrency = REFINED_AT_A_TIME

        root = Path(folder)
        for shared in ("lake/deduplicated_qa", "models", "llm/servers"):
            link = root / "data" / shared
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((ws.root / "data" / shared).resolve())

        def ours(_: int) -> float:
            """Runs the stage in a root of its own: the same pairs, models and server, an empty ledger."""
            shutil.rmtree(root / "data/lake/refined_qa", ignore_errors=True)
            for file in root.glob("data/llm/ledger.sqlite*"):
                file.unlink()
            start = time.perf_counter()
            manifest = execute(REFINED_QA, key, Workspace(root, files), log=lambda line: None, run_id="perf")
            seconds = time.perf_counter() - start
            assert manifest.metrics["asked"] == len(requests)
            return seconds

        def theirs(_: int) -> float:
            start = time.perf_counter()
            straight(leased, requests)
            return time.perf_counter() - start

        theirs(0)
        ours(-1)
        ratios, rates = [], []
        for number in range(runs):
            if number % 2:
                stage, plain = ours(number), theirs(number)
            else:
                plain, stage = theirs(number), ours(number)
            ratios.append(plain / stage)
            rates.append(len(requests) / stage)
        ratios.sort()
        print(
            f"\n{REFINED_QA.asset}: {len(requests)} requests in units of {REFINED_AT_A_TIME}, as many at a time, {runs} "
            f"interleaved runs: {statistics.median(rates):.2f} requests/s, {statistics.median(ratios):.3f} of the throughput straight to vLLM "
            f"(runs {ratios[0]:.3f} to {ratios[-1]:.3f})"
        )


def main(runs: int, count: int) -> None:
    """All measurements."""
    ws = Workspace.open()
    pages = ws.lake.read(ws.lake.require(PAGES.ref(KEY), "perf.extraction"))
    tokens(ws, pages, ws.model_dir(ws.config.extraction.model, print))
    throughput(ws, pages, runs, count)
    refinement(ws, runs, count)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(sys.argv[2]) if len(sys.argv) > 2 else 24)
