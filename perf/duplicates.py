"""How fast near-duplicates are found, beside datatrove's MinHash on the same pairs and parameters.

python -m perf.duplicates [--rounds N] [--pairs N] [--peer-pairs N]    (peer: make perf-peers)

Pairs of 1.3 KB, one in twenty a copy of another with a few words changed. ``signatures``: words, shingles and
signatures (ours with rensa; datatrove's get_shingles and get_signature, whose word tokeniser is spaCy's), for question
and answer together, 14 bands of 8, shingles of 5 words. ``clusters`` is all of it as the stage does it: both sides
(question; question and answer) with the environment's parameters, bands sorted by DuckDB, true Jaccard, union-find.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import polars as pl

from perf.pairs import PEER, Peer, need_real_data, pairs, spread

COPIES = 20


def main(arguments: argparse.Namespace) -> None:
    """Interleaved runs, medians, ratio."""
    from webinstruct_assets.core.config import DuplicatesConfig
    from webinstruct_assets.stages.duplicates.near import Block, clusters, signatures
    from webinstruct_assets.stages.duplicates.shingles import shingle

    need_real_data()
    chooser = random.Random(2)
    made = pairs(arguments.pairs)
    for number in range(COPIES, len(made), COPIES):
        question, answer = made[number - 1]
        words = answer.split()
        words[chooser.randrange(len(words))] = "indeed"
        made[number] = (question, " ".join(words))
    questions, answers = [q for q, _ in made], [a for _, a in made]
    texts = [f"{question}\n{answer}" for question, answer in made]
    frame = pl.DataFrame({"question": questions, "answer": answers})
    settings = DuplicatesConfig()
    with tempfile.TemporaryDirectory() as folder:
        peer = None
        if PEER.exists():
            work = Path(folder)
            (work / "documents.json").write_text(json.dumps(texts[: arguments.peer_pairs]))
            peer = Peer("minhash_signatures.py", work)
            peer.run()
        else:
            print("datatrove is not there: make perf-peers")
        _, both = shingle(questions[:100], answers[:100], 5)
        signatures(both, 14, 8)
        ours, whole, theirs, removed = [], [], [], 0
        for number in range(arguments.rounds):
            start = time.perf_counter()
            _, both = shingle(questions, answers, 5)
            signatures(both, 14, 8)
            ours.append(len(made) / (time.perf_counter() - start))
            start = time.perf_counter()
            blocks = [
                Block(first, min(16384, len(made) - first), lambda first=first: frame[first : first + 16384])
                for first in range(0, len(made), 16384)
            ]
            parents, _ = clusters(blocks, settings, Path(folder) / f"near-{number}")
            whole.append(len(made) / (time.perf_counter() - start))
            removed = int((parents != range(len(made))).sum())
            if peer:
                theirs.append(arguments.peer_pairs / peer.run()["seconds"])
        for name, rates in (("signatures", ours), ("clusters", whole), ("datatrove", theirs)):
            if rates:
                print(f"{name:<10} {spread(rates, 'pairs/s')}")
        print(f"removed {removed:,} of {len(range(COPIES, len(made), COPIES)):,} planted, {len(made):,} pairs")
        if peer:
            print(f"ratio signatures / datatrove {statistics.median(ours) / statistics.median(theirs):,.0f}")
            print(
                f"ratio clusters / datatrove's signatures {statistics.median(whole) / statistics.median(theirs):,.1f}"
            )
            peer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--peer-pairs", type=int, default=500, help="datatrove does some hundred a second")
    main(parser.parse_args())
