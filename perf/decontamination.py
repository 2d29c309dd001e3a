"""How fast pairs are looked up in an index of the real benchmark sets, beside datatrove's n-gram filter.

python -m perf.decontamination [--rounds N] [--pairs N] [--peer-pairs N]    (peer: make perf-peers)

Pairs of 1.3 KB, one in a hundred with a benchmark question in it. Ours is the whole look-up as the stage does it
(strings in, confirmed matches out), on one thread; ``kernel`` is its pass over the bytes alone. datatrove's filter has
the same n and the same index and takes the first pairs of the same list; its word tokeniser is spaCy's. Goal: 130 MB/s,
which is 100,000 pairs a second.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from perf.pairs import PEER, Peer, need_real_data, pairs, real_items, spread

PLANTED = 100


def main(arguments: argparse.Namespace) -> None:
    """Interleaved runs, medians, ratio."""
    from webinstruct_assets.stages.decontamination.index import BenchmarkIndex
    from webinstruct_assets.stages.decontamination.kernel import buffers, scan_buffer

    need_real_data()
    items, chooser = real_items(), random.Random(1)
    texts = [f"{question}\n{answer}" for question, answer in pairs(arguments.pairs)]
    long = [item for item in items if len(item.question.split()) >= 20]
    for number in range(0, len(texts), PLANTED):
        texts[number] = f"{texts[number][:600]}\n{chooser.choice(long).question}\n{texts[number][900:]}"
    start = time.perf_counter()
    index = BenchmarkIndex(items)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(items):,} items, {index.grams:,} n-grams, index built in {time.perf_counter() - start:.1f} s")
    print(f"{len(texts):,} pairs, {megabytes:.1f} MB")
    found = index.find_many(texts)
    buffer, offsets = buffers(texts)
    with tempfile.TemporaryDirectory() as folder:
        peer = None
        if PEER.exists():
            work = Path(folder)
            (work / "documents.json").write_text(json.dumps(texts[: arguments.peer_pairs]))
            (work / "items.json").write_text(
                json.dumps([[item.question, item.solution or item.answer] for item in items])
            )
            peer = Peer("decontamination_filter.py", work)
            peer.run()
        else:
            print("datatrove is not there: make perf-peers")
        ours, kernel, theirs = [], [], []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            index.find_many(texts)
            ours.append(len(texts) / (time.perf_counter() - start))
            start = time.perf_counter()
            scan_buffer(buffer, offsets, index.lookup)
            kernel.append(len(texts) / (time.perf_counter() - start))
            if peer:
                answer = peer.run()
                theirs.append(arguments.peer_pairs / answer["seconds"])
        for name, rates in (("look-up", ours), ("kernel", kernel), ("datatrove", theirs)):
            if rates:
                per_pair = megabytes / len(texts)
                print(f"{name:<10} {spread(rates, 'pairs/s')}, {statistics.median(rates) * per_pair:.1f} MB/s")
        print(f"found {len(found)} of {len(range(0, len(texts), PLANTED))} planted")
        if peer:
            planted = len(range(0, arguments.peer_pairs, PLANTED))
            print(f"datatrove found {answer['result']} of {planted} planted among its {arguments.peer_pairs:,}")
            print(f"ratio look-up / datatrove {statistics.median(ours) / statistics.median(theirs):,.0f}")
            peer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--peer-pairs", type=int, default=500, help="datatrove does some hundred a second")
    main(parser.parse_args())
