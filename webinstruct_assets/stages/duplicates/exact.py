"""Exact duplicates: pairs that are the same but for case, spacing, Unicode form and TeX delimiters.

In: question and answer. Out: a digest that such pairs share.
"""

import hashlib
import re
import unicodedata

_DELIMITERS = re.compile(r"\$\$?|\\[()\[\]]")


def pair_digest(question: str, answer: str) -> str:
    """The same for pairs that count as equal. Signs stay: ``x + 1`` and ``x - 1`` are two questions."""
    text = "\x1f".join(_normalised(part) for part in (question, answer))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _normalised(text: str) -> str:
    text = _DELIMITERS.sub("", unicodedata.normalize("NFKC", text).casefold())
    return "".join(text.split()).strip(".,;:!")
