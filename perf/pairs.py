"""What ``perf.decontamination`` and ``perf.duplicates`` have in common: texts from ../shared/real, and a peer's process.

Texts are pairs of 1.3 KB cut out of real pages, sentences in shuffled order so that no two are alike.
"""

import gzip
import json
import random
import re
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared/real"
PEER = ROOT / ".peers/datatrove/bin/python"
CHARACTERS = 1300


def real_items() -> list[Any]:
    """The real benchmark sets as items of the index."""
    from webinstruct_assets.stages.decontamination.index import BenchmarkItem

    folder = REAL / "benchmarks"
    lines = [json.loads(line) for line in (folder / "gsm8k_test.jsonl").read_text().splitlines()]
    items = [BenchmarkItem("gsm8k", str(n), r["question"], r["answer"]) for n, r in enumerate(lines)]
    lines = [json.loads(line) for line in (folder / "math_500_of_test.jsonl").read_text().splitlines()]
    items += [BenchmarkItem("math", r["id"], r["problem"], "", (), r["solution"]) for r in lines]
    records = json.loads((folder / "theoremqa_test.json").read_text())
    items += [BenchmarkItem("theoremqa", r["id"], r["Question"], str(r["Answer"])) for r in records]
    records = json.loads((folder / "mmlu_stem.json").read_text())
    items += [
        BenchmarkItem("mmlu", str(n), r["question"], "ABCDEFGHIJ"[r["answer"]], tuple(map(str, r["choices"])))
        for n, r in enumerate(records)
    ]
    return items


def pairs(number: int, seed: int = 0) -> list[tuple[str, str]]:
    """Question and answer, together about 1.3 KB, from the mostly Latin sentences of the real pages."""
    raw = gzip.decompress((REAL / "pages/web_pages_dev.warc.gz").read_bytes()).decode("utf-8", "replace")
    text = re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style).*?</\1>", " ", raw))
    sentences = [
        sentence.strip()
        for sentence in re.split(r"(?<=[.?!])\s+|\n+", text)
        if 40 <= len(sentence.strip()) <= 400 and sum(c.isalpha() or c == " " for c in sentence) > 0.85 * len(sentence)
    ]
    chooser = random.Random(seed)
    made = []
    for _ in range(number):
        question, answer = [], []
        while sum(map(len, question)) < CHARACTERS // 4:
            question.append(chooser.choice(sentences))
        while sum(map(len, answer)) < CHARACTERS * 3 // 4:
            answer.append(chooser.choice(sentences))
        made.append((" ".join(question)[: CHARACTERS // 4], " ".join(answer)[: CHARACTERS * 3 // 4]))
    return made


class Peer:
    """A script of perf/peers in datatrove's environment: a number of documents in, seconds and a result out."""

    def __init__(self, script: str, work: Path):
        self._process = subprocess.Popen(
            [str(PEER), str(ROOT / "perf/peers" / script), str(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self) -> dict[str, Any]:
        """One run over the documents in its folder."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def spread(values: Sequence[float], unit: str) -> str:
    """Median, and from the least to the most."""
    return (
        f"median {statistics.median(values):,.1f} {unit} ({min(values):,.1f} to {max(values):,.1f}, {len(values)} runs)"
    )


def need_real_data() -> None:
    """Ends the program where there is nothing to measure on."""
    if not REAL.exists():
        raise SystemExit(f"needs real pages and benchmarks in {REAL}")
