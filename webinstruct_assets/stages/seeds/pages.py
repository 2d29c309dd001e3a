"""Labelled pages: the training-set table that all recall rounds share.

Columns: ``id``, ``parent_id`` (row id of the WET file in ``crawl_index``; "" for a user's file), ``url``,
``domain``, ``label`` (positive | negative), ``source`` (why it is in the set), ``offset`` (bytes into the WET
file; null for a user's file), ``split`` (train | held_out), ``text`` (page text, one line).
"""

import hashlib

import polars as pl

SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "domain": pl.String(),
    "label": pl.String(),
    "source": pl.String(),
    "offset": pl.Int64(),
    "split": pl.String(),
    "text": pl.String(),
}


def uniform(seed: int, *parts: object) -> float:
    """A reproducible number in [0, 1) for what ``parts`` name: sampling by it needs no order and no machine."""
    digest = hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def text_digest(text: str) -> str:
    """What page texts share that differ in white space only (128 bits, hex)."""
    return hashlib.blake2b(" ".join(text.split()).encode(errors="replace"), digest_size=16).hexdigest()


def split_of(seed: int, digest: str, held_out: float) -> str:
    """Held-out or train, by the text's digest: copies of a page on two hosts never straddle the split."""
    return "held_out" if uniform(seed, "split", digest) < held_out else "train"


def one_line(text: str) -> str:
    """Page text as a line of fastText's: newlines become spaces, all else stays; "" where there is only white space.

    A model must be trained on what it will score. fastText ends a word at ASCII white space and zero bytes only, and
    recall scores a page's raw bytes: folding other white space (U+00A0, U+3000) here would teach it words and n-grams
    that a scored page does not have.
    """
    return "" if text.isspace() else text.replace("\n", " ")
