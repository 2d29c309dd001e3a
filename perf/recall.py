"""Recall of one WET file: what inflating, reading, scoring and all of it take, beside peers on the same file and model.

python -m perf.recall [--rounds N] [--peers NAMES] [--peer-rounds N] [--megabytes N] [--work FOLDER] [--save FILE]

Peers come from ``make perf-peers``. ``--save`` writes all times as JSON: docs/scale.md is derived from them (perf.scale).

The file is made of half of the pages in ../shared/real/pages, one gzip member per record as in Common Crawl's files; a
page's lines are shuffled and some are left out, so that no page comes twice. The model has the paper's shape (256
dimensions, 3-grams, 2 M buckets) and is trained on the other half; "positive" are pages that ask three questions or
more. The threshold lets 2 % of the pages through.

Every case runs in a process of its own, pinned to one core, and has loaded its model and, but for the peers, run once
before it is timed; rounds are interleaved. Cases: ``inflate`` (igzip alone, over all members), ``read`` (the reader's batches),
``score`` (the scorer on the texts in memory), ``recall`` (the unit of work as the assets run it: read, score, filter,
count domains, write Parquet, sync), ``datatrove`` (WarcReader and FastTextClassifierFilter, nothing written),
``nemo-curator`` (its stages around a WET iterator, its FastTextQualityFilter and its threshold, nothing written).
"""

import argparse
import datetime
import gzip
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared/real/pages/web_pages_dev.warc.gz"
PEERS = {"datatrove": "datatrove_recall.py", "nemo-curator": "nemo_curator_recall.py"}
KEPT = 0.02
QUESTIONS = 3
CASES = ("inflate", "read", "score", "recall")
Page = tuple[str, str]


def real_pages() -> list[Page]:
    """(url, visible text) of the shared real pages, shuffled."""
    from webinstruct_assets.core.warc import iter_records
    from webinstruct_assets.stages.crawl.plain_text import decode_text, visible_text

    pages = []
    with REAL.open("rb") as stream:
        for record in iter_records(stream, REAL.name, on_reject=lambda reject: None):
            if record.type == "response":
                html, _ = decode_text(record.payload, record.http_header("content-type"))
                pages.append((record.url, visible_text(html)))
    random.Random(0).shuffle(pages)
    return pages


def write_wet(path: Path, pages: Sequence[Page], text_bytes: int, seed: int) -> tuple[int, int]:
    """A WET file of about ``text_bytes`` of text; returns (pages, bytes of text).

    Hosts are made to differ as in a crawl, where a file of some 30,000 pages names some 20,000 hosts.
    """
    chooser, number, size = random.Random(seed), 0, 0
    with path.open("wb") as out:
        head = b"Software-Info: perf.recall\r\n"
        out.write(gzip.compress(_record("warcinfo", "", head, 0), 6, mtime=0))
        while size < text_bytes:
            url, text = chooser.choice(pages)
            lines = [line for line in text.split("\n") if chooser.random() < 0.8]
            chooser.shuffle(lines)
            body = "\n".join(lines).encode()
            scheme, _, rest = url.partition("://")
            url = f"{scheme}://h{chooser.randrange(20_000)}.{rest.removeprefix('www.')}"
            out.write(gzip.compress(_record("conversion", url, body, number), 6, mtime=0))
            number, size = number + 1, size + len(body)
    return number, size


def _record(kind: str, url: str, body: bytes, number: int) -> bytes:
    target = f"WARC-Target-URI: {url}\r\n" if url else ""
    content = "text/plain" if url else "application/warc-fields"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\n{target}WARC-Date: 2026-01-{number % 28 + 1:02d}T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-{number:012d}>\r\n"
        f"Content-Type: {content}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def prepare(work: Path, megabytes: int) -> dict[str, Any]:
    """Makes file, model and threshold in ``work``, where they are not there yet, and says what they are."""
    from webinstruct_assets.core.config import FastTextConfig
    from webinstruct_assets.stages.recall.classifier import POSITIVE, train
    from webinstruct_assets.stages.recall.scorer import FastTextScorer

    told = work / "input.json"
    if told.exists():
        return dict(json.loads(told.read_text()))
    pages = real_pages()
    half = len(pages) // 2
    labelled = [
        ("positive" if text.count("?") >= QUESTIONS else "negative", text.replace("\n", " "))
        for _, text in pages[:half]
    ]
    # More passes and steps than the paper's, which are meant for 100,000 pages: scores are to spread over 0 to 1.
    train(labelled, work / "model.bin", FastTextConfig(epochs=25, lr=2.0), work / "scratch")
    number, size = write_wet(work / "pages.warc.wet.gz", pages[half:], megabytes * 1_000_000, 1)
    scores = FastTextScorer.load(work / "model.bin", POSITIVE).score(_texts(work))
    scores.sort()
    facts = {
        "pages": number, "text_bytes": size, "file_bytes": (work / "pages.warc.wet.gz").stat().st_size,
        "threshold": float(scores[int(len(scores) * (1 - KEPT))]), "scores": scores[:: len(scores) // 10].tolist(),
    }  # fmt: skip
    told.write_text(json.dumps(facts))
    return facts


def _texts(work: Path) -> Any:
    import pyarrow as pa

    from webinstruct_assets.stages.crawl.wet import iter_wet_batches

    with (work / "pages.warc.wet.gz").open("rb") as stream:
        return pa.chunked_array([batch.texts for batch in iter_wet_batches(stream, "", on_reject=print)])


def case(name: str, work: Path, threshold: float) -> Callable[[], Any]:
    """A function that runs a case once. What it loads first, it keeps."""
    path = work / "pages.warc.wet.gz"
    if name == "inflate":
        from isal import igzip

        buffer = bytearray(1 << 20)

        def inflate() -> int:
            size = 0
            with igzip.open(path) as stream:
                while count := stream.readinto(buffer):
                    size += count
            return size

        return inflate
    if name == "read":
        from webinstruct_assets.stages.crawl.wet import iter_wet_batches

        def read() -> int:
            with path.open("rb") as stream:
                return sum(len(batch) for batch in iter_wet_batches(stream, "", on_reject=print))

        return read
    if name == "score":
        from webinstruct_assets.stages.recall.classifier import POSITIVE
        from webinstruct_assets.stages.recall.scorer import FastTextScorer

        scorer, texts = FastTextScorer.load(work / "model.bin", POSITIVE), _texts(work)
        return lambda: len(scorer.score(texts))
    if name == "recall":
        from webinstruct_assets.core.unit import Ledger
        from webinstruct_assets.stages.crawl.source import CrawlSource
        from webinstruct_assets.stages.crawl.wet import WetFile
        from webinstruct_assets.stages.recall.scan import SCHEMA, score_file

        folder = Path(tempfile.mkdtemp(dir=work))
        file = WetFile("ci-0", path.name, "pages.warc.gz")

        def recall() -> dict[str, int]:
            unit = score_file(CrawlSource(str(work)), work / "model.bin", threshold, "r1", file)
            entry = Ledger(folder, "recall", SCHEMA, None).commit("ci-0", unit, time.process_time())
            rejects = entry.rejects.bytes if entry.rejects else 0
            return {"rows": entry.part.rows, "rejects": entry.rows_in - entry.rows_kept, "reject_bytes": rejects}

        return recall
    raise ValueError(name)


def serve(name: str, work: Path, threshold: float) -> None:
    """Runs a case once per line of standard input: a number of times; prints seconds, CPU seconds, its result and peak memory."""
    run = case(name, work, threshold)
    for line in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            result = run()
        told = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - used, "result": result}
        told["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(told), flush=True)


def _python(peer: str) -> Path:
    return ROOT / ".peers" / peer / "bin/python"


class Process:
    """A case in its process, on one core."""

    def __init__(self, name: str, work: Path, threshold: float, core: int):
        peer = PEERS.get(name)
        script = [str(ROOT / "perf/peers" / peer)] if peer else ["-m", "perf.recall", "--serve"]
        python = str(_python(name)) if peer else sys.executable
        self._process = subprocess.Popen(
            [python, *script, name, str(work), str(threshold)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "POLARS_MAX_THREADS": "1",
                "PYTHONPATH": str(ROOT),
                "HF_HOME": str(work / "peer"),
            },  # datatrove copies models into a cache, and takes an old copy by name
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        if not peer:  # has its model, and nothing that is compiled
            self.ask(1).answer()

    def ask(self, times: int) -> "Process":
        """Starts the case ``times`` times, one after the other."""
        assert self._process.stdin
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        return self

    def answer(self) -> dict[str, Any]:
        """Seconds, CPU seconds, result and peak memory of what was asked."""
        assert self._process.stdout
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def spread(values: Sequence[float], unit: str = "s") -> str:
    """Median, and from the least to the most."""
    return f"{statistics.median(values):8.3f} {unit} ({min(values):.3f} to {max(values):.3f}, {len(values)} runs)"


def main(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    facts = prepare(work, arguments.megabytes)
    megabytes = facts["text_bytes"] / 1e6
    cores = sorted(os.sched_getaffinity(0))
    print(
        f"{facts['pages']:,} pages, {megabytes:.0f} MB of text in {facts['file_bytes'] / 1e6:.0f} MB;"
        f" deciles of the scores {' '.join(f'{score:.2f}' for score in facts['scores'])}; {len(cores)} cores"
    )
    peers = [name for name in arguments.peers.split(",") if name]
    if missing := [name for name in peers if not _python(name).exists()]:
        print(f"not there: {', '.join(missing)} (make perf-peers)")
    peers = [name for name in peers if name not in missing]
    names = [*CASES, *peers]
    processes = {name: Process(name, work, facts["threshold"], cores[-1]) for name in names}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        for name in names:
            if name in CASES or number < arguments.peer_rounds:
                answers[name].append(processes[name].ask(1).answer())
    for process in processes.values():
        process.close()
    times = {name: [answer["seconds"] for answer in told] for name, told in answers.items()}
    results = {name: told[-1]["result"] for name, told in answers.items()}
    for name in names:
        print(f"{name:<12} {spread(times[name])}  {megabytes / statistics.median(times[name]):7.1f} MB/s of text")
    found = results["recall"]
    theirs = ", ".join(f"{name} kept {results[name]}" for name in peers)
    print(
        f"kept {found['rows']:,}, rejected {found['rejects']:,} ({theirs});"
        f" a reject takes {found['reject_bytes'] / found['rejects']:.1f} bytes on disk:"
        f" {found['reject_bytes'] / found['rejects']:.1f} GB per billion pages"
    )
    _ratio("recall / inflate", times["recall"], times["inflate"])
    _ratio("read / inflate", times["read"], times["inflate"])
    for name in peers:
        _ratio(f"{name} / recall", times[name], times["recall"])
        _ratio(f"{name} / score", times[name], times["score"])
    two = _two_processes(work, facts, cores, arguments.rounds)
    sizes = _sizes(work, facts, cores[-1])
    if arguments.save:
        measured = {"machine": _machine(), "input": facts, "cases": answers, "two_processes": two, "files": sizes}
        arguments.save.write_text(json.dumps(measured, indent=1) + "\n")


def _machine() -> dict[str, Any]:
    """Where and when this was measured."""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    cpu = f"{told.get('model name', 'unknown')} (family {told.get('cpu family')}, model {told.get('model')})"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    date = datetime.date.today().isoformat()
    return {"date": date, "cpu": cpu, "cores": os.cpu_count(), "memory": memory}


def _ratio(name: str, above: Sequence[float], below: Sequence[float]) -> None:
    """Ratio of the medians, and of each round's pair."""
    pairs = [a / b for a, b in zip(above, below, strict=False)]
    ratio = statistics.median(above) / statistics.median(below)
    print(f"{name:<20} {ratio:6.2f}  (rounds: {min(pairs):.2f} to {max(pairs):.2f})")


def _two_processes(work: Path, facts: dict[str, Any], cores: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """What both of two processes at once answered."""
    if len(cores) < 2:
        print("one core only: no measurement of two processes")
        return []
    pair = [Process("recall", work, facts["threshold"], core) for core in cores[:2]]
    one, two, answers = [], [], []
    for _ in range(rounds):
        one.append(pair[1].ask(1).answer()["seconds"])
        for process in pair:
            process.ask(1)
        both = [process.answer() for process in pair]
        two.append(max(answer["seconds"] for answer in both))
        answers += both
    for process in pair:
        process.close()
    print(f"1 process  {spread(one)}\n2 processes, a file each {spread(two)}")
    print(f"two processes do {2 * statistics.median(one) / statistics.median(two):.2f} times the work of one")
    return answers


def _sizes(work: Path, facts: dict[str, Any], core: int) -> dict[int, dict[str, Any]]:
    """Files one after the other in one process, as a worker has them."""
    process = Process("recall", work, facts["threshold"], core)
    answers = {files: process.ask(files).answer() for files in (1, 5, 20)}
    for files, answer in answers.items():
        print(
            f"{files:2d} files: {answer['seconds']:7.2f} s, {answer['seconds'] / files:.3f} s each,"
            f" peak memory {answer['memory'] / 1e6:.0f} MB"
        )
    process.close()
    return answers


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--rounds", type=int, default=5)
        parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated")
        parser.add_argument("--peer-rounds", type=int, default=5, help="five take minutes")
        parser.add_argument("--megabytes", type=int, default=116, help="of text in the WET file")
        parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "webinstruct-perf-recall")
        parser.add_argument("--save", type=Path, help="JSON file for the measurements")
        main(parser.parse_args())
