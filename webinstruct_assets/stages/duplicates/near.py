"""Near-duplicates among many pairs: MinHash-LSH for candidates, true Jaccard similarity to decide, then clusters.

In: blocks of pairs, read when needed. Out: for every pair the lowest-numbered pair of its cluster. Two pairs are
near-duplicates when the Jaccard similarity of their word shingles is high enough, for question and answer together
or for the questions alone, and the texts compared hold the same numbers, symbols and signs and the same words that
turn a question round (not, least, …): exercises that differ in a number are different exercises. Exact duplicates are joined too.

Nothing here grows with the text but the disk: a block is in memory at a time (two where they are compared), band
keys lie in Parquet that DuckDB sorts outside of memory, union-find takes 8 bytes per pair. Every step leaves a file
in the scratch folder, written whole and renamed, and is not done again where the file is.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from webinstruct_assets.core.config import DuplicatesConfig
from webinstruct_assets.core.lake import write_table
from webinstruct_assets.core.progress import Progress
from webinstruct_assets.stages.duplicates.exact import pair_digest

if TYPE_CHECKING:
    from webinstruct_assets.stages.duplicates.shingles import Array, Shingles

SEED = 0
LAGS = 4  # in a bucket a pair is compared with the first one and with so many before it
MEMORY = "1GB"


@dataclass(frozen=True)
class Block:
    """Some pairs: ``first`` is the number of the first one, ``read`` gives columns ``question`` and ``answer``."""

    first: int
    rows: int
    read: Callable[[], pl.DataFrame]


def signatures(shingles: "Shingles", bands: int, rows: int) -> "Array":
    """Band keys, shape (texts, bands), uint64: the MinHash signature (rensa's R-MinHash) cut into bands."""
    from rensa import RMinHash

    ends = np.concatenate([[0], shingles.ends]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles.hashes[: int(ends[-1])], ends, bands * rows, SEED)
    digests = np.array(matrix.to_rows(), np.uint32).reshape(-1, bands, rows)
    keys = np.zeros(digests.shape[:2], np.uint64)
    for place in range(rows):
        keys = (keys ^ digests[:, :, place]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def clusters(
    blocks: Sequence[Block],
    settings: DuplicatesConfig,
    scratch: Path,
    progress: Progress | None = None,
    groups: "Array | None" = None,
) -> tuple["Array", pl.DataFrame]:
    """Per pair the lowest pair of its cluster, and the edges (first, second, exact, question, pair: similarities).

    With ``groups`` (a number per pair) near-duplicates count between different groups only.
    """
    from webinstruct_assets.stages.duplicates.shingles import flatten, unite

    scratch.mkdir(parents=True, exist_ok=True)
    progress = progress or Progress("duplicates", lambda line: None)
    total = sum(block.rows for block in blocks)
    parents = np.arange(total, dtype=np.int64)
    progress.start(total, "pairs hashed")
    for number, block in enumerate(blocks):
        file = scratch / f"bands-{number:05}.parquet"
        if file.exists():
            progress.found(block.rows)
        else:
            write_table(file, _bands(block, settings))
            progress.advance(block.rows)
    edges = []
    if total:
        _candidates(settings, scratch, progress)
        verify = _Verifier(blocks, settings, scratch, groups)
        progress.start(total, "pairs compared")
        for number, block in enumerate(blocks):
            file = scratch / f"edges-{number:05}.parquet"
            if file.exists():
                progress.found(block.rows)
            else:
                write_table(file, verify.block(number))
                progress.advance(block.rows)
            found = pl.read_parquet(file)
            unite(parents, found["first"].to_numpy(), found["second"].to_numpy())
            edges.append(found)
        flatten(parents)
    return parents, pl.concat(edges) if edges else pl.DataFrame(schema=EDGES)


EDGES = {
    "first": pl.Int64(), "second": pl.Int64(), "exact": pl.Boolean(), "question": pl.Float64(), "pair": pl.Float64(),
}  # fmt: skip
_DIGEST_BAND = -1


def _bands(block: Block, settings: DuplicatesConfig) -> pl.DataFrame:
    """Rows (band, key, row). Bands from 0: question; from ``settings.bands``: question and answer; -1: digest."""
    from webinstruct_assets.stages.duplicates.shingles import shingle

    pairs = block.read()
    questions, answers = pairs["question"].to_list(), pairs["answer"].to_list()
    numbers = np.arange(block.first, block.first + block.rows)
    frames = []
    for side, shingles in enumerate(shingle(questions, answers, settings.shingle)):
        keys = signatures(shingles, settings.bands, settings.rows)
        sizes = np.diff(shingles.ends, prepend=0)
        usable = shingles.words >= settings.min_question_words if side == 0 else sizes > 0
        for band in range(settings.bands):
            frames.append(_keyed(side * settings.bands + band, keys[usable, band], numbers[usable]))
    digests = np.array([int(pair_digest(q, a)[:16], 16) for q, a in zip(questions, answers, strict=True)], np.uint64)
    return pl.concat([*frames, _keyed(_DIGEST_BAND, digests, numbers)])


def _keyed(band: int, keys: "Array", rows: "Array") -> pl.DataFrame:
    return pl.DataFrame(
        {"band": np.full(rows.size, band, np.int32), "key": keys.astype(np.uint64), "row": rows.astype(np.int64)}
    )


def _candidates(settings: DuplicatesConfig, scratch: Path, progress: Progress) -> None:
    """``candidates-<band>.parquet`` per band, then all of them, distinct and in order, in ``candidates.parquet``."""
    import duckdb

    if (scratch / "candidates.parquet").exists():
        return
    with duckdb.connect() as db:
        db.execute(f"SET memory_limit='{MEMORY}'; SET threads=2; SET temp_directory='{scratch / 'spill'}'")
        bands = str(scratch / "bands-*.parquet")
        lags = ", ".join(f"lag(row, {lag}) OVER w AS lag{lag}" for lag in range(1, LAGS + 1))
        others = ", ".join(["oldest", *(f"lag{lag}" for lag in range(1, LAGS + 1))])
        numbers = range(_DIGEST_BAND, 2 * settings.bands)
        progress.start(len(numbers), "bands joined")
        for band in numbers:
            file = scratch / f"candidates-{band}.parquet"
            if file.exists():
                progress.found(1)
                continue
            _copy(
                db,
                f"SELECT DISTINCT other AS first, row AS second FROM (SELECT row, unnest([{others}]) AS other FROM ("
                f"SELECT row, first_value(row) OVER w AS oldest, {lags} FROM read_parquet('{bands}') "
                f"WHERE band = {band} WINDOW w AS (PARTITION BY key ORDER BY row))) WHERE other < row",
                file,
            )
            progress.advance()
        _copy(
            db,
            f"SELECT DISTINCT first, second FROM read_parquet('{scratch / 'candidates-*.parquet'}') "
            "ORDER BY first, second",
            scratch / "candidates.parquet",
        )


def _copy(db: Any, query: str, file: Path) -> None:
    temporary = file.with_name(f".{file.name}.tmp-{os.getpid()}")
    db.execute(f"COPY ({query}) TO '{temporary}' (FORMAT parquet)")
    os.replace(temporary, file)


class _Verifier:
    """True similarities of candidates, block by block."""

    def __init__(self, blocks: Sequence[Block], settings: DuplicatesConfig, scratch: Path, groups: "Array | None"):
        self._blocks, self._settings, self._groups = blocks, settings, groups
        self._firsts = np.array([block.first for block in blocks])
        self._candidates = pl.scan_parquet(scratch / "candidates.parquet")
        self._loaded = lru_cache(maxsize=2)(self._load)

    def _load(self, number: int) -> tuple["Shingles", "Shingles", list[str]]:
        from webinstruct_assets.stages.duplicates.shingles import shingle

        pairs = self._blocks[number].read()
        questions, answers = pairs["question"].to_list(), pairs["answer"].to_list()
        digests = [pair_digest(question, answer) for question, answer in zip(questions, answers, strict=True)]
        return *shingle(questions, answers, self._settings.shingle), digests

    def block(self, number: int) -> pl.DataFrame:
        """The edges from pairs of block ``number`` to later pairs."""
        block = self._blocks[number]
        own = self._candidates.filter(pl.col("first").is_between(block.first, block.first + block.rows - 1)).collect()
        edges = []
        others = np.searchsorted(self._firsts, own["second"].to_numpy(), side="right") - 1
        for other in np.unique(others).tolist():
            part = own.filter(pl.Series(others == other))
            left, right = self._loaded(number), self._loaded(other)
            base = self._blocks[other].first
            for first, second in part.iter_rows():
                edge = self._compare(left, first - block.first, right, second - base)
                near = edge[1] >= self._settings.question_jaccard or edge[2] >= self._settings.pair_jaccard
                if edge[0] or (near and (self._groups is None or self._groups[first] != self._groups[second])):
                    edges.append((first, second, *edge))
        return pl.DataFrame(edges, schema=EDGES, orient="row").sort("first", "second")

    def _compare(self, left: Any, first: int, right: Any, second: int) -> tuple[bool, float, float]:
        """Whether exact; the similarity of the questions and of the pairs, 0 where guards or lengths forbid."""
        from webinstruct_assets.stages.duplicates.shingles import jaccard

        similarities = []
        for side in (0, 1):
            a, b = left[side], right[side]
            long = side == 1 or min(a.words[first], b.words[second]) >= self._settings.min_question_words
            same = a.guards[first] == b.guards[second]
            similarities.append(float(jaccard(a.of(first), b.of(second))) if long and same else 0.0)
        return left[2][first] == right[2][second], similarities[0], similarities[1]
