"""Exact duplicates: pairs that are the same but for case, spacing, Unicode form and TeX delimiters.

In: refined rows in order of preference. Out: for each row the first one that is the same.
"""

import hashlib
import re
import unicodedata

import polars as pl

_DELIMITERS = re.compile(r"\$\$?|\\[()\[\]]")


def pair_digest(question: str, answer: str) -> str:
    """The same for pairs that count as equal. Signs stay: ``x + 1`` and ``x - 1`` are two questions."""
    text = "\x1f".join(_normalised(part) for part in (question, answer))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _normalised(text: str) -> str:
    text = _DELIMITERS.sub("", unicodedata.normalize("NFKC", text).casefold())
    return re.sub(r"\s+", "", text).strip(".,;:!")


def with_representatives(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with a column ``representative``: the id of the first row with the same digest (its own if it is that)."""
    digests = [pair_digest(question, answer) for question, answer in rows.select("question", "answer").iter_rows()]
    return rows.with_columns(pl.Series("digest", digests, dtype=pl.String)).with_columns(
        pl.col("id").first().over("digest").alias("representative")
    ).drop("digest")  # fmt: skip
