"""JSON that strangers wrote: pages, LLMs, downloaded files. Put here what a parser must not let through to a stage."""

import json
import re
from typing import Any

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(text: str | bytes, strict: bool = True) -> Any:
    """As ``json.loads``, but whatever is wrong is a ValueError, and every string can be written as UTF-8.

    The parser gives up on deep nesting with RecursionError, and makes half of a surrogate pair (RFC 8259 section 8.2;
    an emoji that was cut, mostly) a string that no file can hold; here that half is U+FFFD.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        value = json.loads(text, strict=strict)
        if _SURROGATE.search(text):
            value = json.loads(whole(json.dumps(value, ensure_ascii=False)))
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


def whole(text: str) -> str:
    """``text`` with U+FFFD for each half of a surrogate pair that stands alone."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
