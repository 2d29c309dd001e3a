"""Main text of real pages: F1 and pages per second against trafilatura and resiliparse, and what becomes of formulas.

python -m perf.pages [--rounds N] [--pages N]    (peers: make perf-peers)

All tools read the same payloads of ../shared/real/pages in processes of their own, pinned to one core; one round runs
each tool once over all pages, one after the other. Time is the CPU time of extraction: no start-up, no compilation (the first
round is not counted for anybody). F1 as that folder's README defines it. Mathematics: every case of the tests' corpus is put
into a page of prose; it survives when its TeX stands in the text where it belongs (white space and dollar signs aside).
"""

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared" / "real" / "pages"
TOOLS = {"ours": "", "trafilatura": "trafilatura", "trafilatura_fast": "trafilatura", "resiliparse": "resiliparse"}
BEST = "trafilatura"
Page = tuple[str, bytes, str | None]
PROSE = (
    "<p>" + "This paragraph of plain prose stands here so that every tool sees an article worth keeping. " * 6 + "</p>"
)


def load_pages() -> tuple[list[Page], dict[str, dict[str, list[str]]]]:
    """(url, payload, Content-Type) of the pages that have gold, and the gold by URL."""
    from fastwarc.warc import ArchiveIterator

    entries = map(json.loads, (REAL / "web_pages_dev.gold.jsonl").read_text().splitlines())
    gold = {entry["url"]: entry for entry in entries}
    pages: list[Page] = []
    with (REAL / "web_pages_dev.warc.gz").open("rb") as stream:
        for record in ArchiveIterator(stream, parse_http=True):
            url = record.headers.get("WARC-Target-URI") or ""
            if url in gold:
                pages.append((url, record.reader.read(), record.http_headers.get("Content-Type")))
    return pages, gold


def scores(texts: dict[str, str], gold: dict[str, dict[str, list[str]]]) -> tuple[float, float, float]:
    """Precision, recall and F1 over all snippets."""
    right = missing = wrong = 0
    for url, text in texts.items():
        folded = " ".join(text.split())
        hits = [" ".join(snippet.split()) in folded for snippet in gold[url]["must_contain"]]
        right += sum(hits)
        missing += len(hits) - sum(hits)
        wrong += sum(" ".join(snippet.split()) in folded for snippet in gold[url]["must_not_contain"])
    precision, recall = right / max(right + wrong, 1), right / max(right + missing, 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


class Tool:
    """A tool in its process."""

    def __init__(self, name: str, pages: Path, core: int):
        environment = TOOLS[name]
        python = ROOT / ".peers" / environment / "bin" / "python" if environment else Path(sys.executable)
        if not python.exists():
            raise SystemExit(f"{python} is missing: run make perf-peers")
        self._process = subprocess.Popen(
            [python, ROOT / "perf/peers/extract_pages.py", name, pages], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip

    def run(self, command: str = "run") -> float:
        """CPU seconds of one pass over the pages."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._process.args!r} ended without an answer")
        return float(answer)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def math_pages() -> tuple[list[Page], list[str]]:
    """Corpus cases in pages of prose, and the text that each must become."""
    from webinstruct_assets_tests.stages.pages.test_math import CORPUS

    pages: list[Page] = []
    expected = []
    for number, (html, text) in enumerate(CORPUS.values()):
        body = f"<html><head><title>Notes</title></head><body><article><h1>Notes</h1>{PROSE}{html}{PROSE}</article></body></html>"
        pages.append((f"https://notes.example/{number}", body.encode(), "text/html; charset=utf-8"))
        expected.append(text)
    return pages, expected


def survives(text: str, expected: str) -> bool:
    """Whether the expected text is there; how a tool delimits formulas does not count."""
    plain = [
        piece.replace("$", "").replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "")
        for piece in (text, expected)
    ]
    folded = ["".join(piece.split()) for piece in plain]
    return folded[1] in folded[0]


def measure_math(scratch: Path, core: int) -> dict[str, str]:
    """Per tool: cases that survive, of all."""
    pages, expected = math_pages()
    path = scratch / "math.pickle"
    path.write_bytes(pickle.dumps(pages))
    found = {}
    for name in TOOLS:
        tool = Tool(name, path, core)
        tool.run(f"texts {scratch / 'math.json'}")
        tool.close()
        texts = json.loads((scratch / "math.json").read_text())
        found[name] = f"{sum(map(survives, texts, expected))}/{len(expected)}"
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (5)")
    parser.add_argument("--pages", type=int, default=0, help="only the first N pages (all)")
    arguments = parser.parse_args()
    if not REAL.exists():
        raise SystemExit(f"no {REAL}: real pages are not part of the repository")
    core = max(os.sched_getaffinity(0))
    pages, gold = load_pages()
    pages = pages[: arguments.pages or None]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        path = scratch / "pages.pickle"
        path.write_bytes(pickle.dumps(pages))
        tools = {name: Tool(name, path, core) for name in TOOLS}
        quality = {}
        for name, tool in tools.items():  # the uncounted round
            tool.run(f"texts {scratch / 'texts.json'}")
            texts = json.loads((scratch / "texts.json").read_text())
            quality[name] = scores({page[0]: text for page, text in zip(pages, texts, strict=True)}, gold)
        speeds: dict[str, list[float]] = {name: [] for name in tools}
        for _ in range(arguments.rounds):
            for name, tool in tools.items():
                speeds[name].append(len(pages) / tool.run())
        for tool in tools.values():
            tool.close()
        math = measure_math(scratch, core)
    print(f"{len(pages)} real pages, {arguments.rounds} interleaved rounds, one core")
    print(
        f"{'':<18}{'precision':>10}{'recall':>8}{'F1':>8}{'pages/s (range)':>24}{f'x {BEST} (range)':>26}{'formulas':>10}"
    )
    for name, values in speeds.items():
        ratios = [value / base for value, base in zip(values, speeds[BEST], strict=True)]
        precision, recall, f1 = quality[name]
        speed = f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        print(f"{name:<18}{precision:>10.3f}{recall:>8.3f}{f1:>8.3f}{speed:>24}{ratio:>26}{math[name]:>10}")


if __name__ == "__main__":
    main()
