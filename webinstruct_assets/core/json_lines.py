"""JSON and JSON lines, gzipped or not, that anybody may have written: what a bad line means is the reader's to say."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.foreign_json import read_json

# A few thousand bytes of gzip make as many of these.
MAX_LINE = 64 << 20  # bytes
MAX_FILE = 1 << 30  # bytes of a file that is one value


@contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """The file's content, inflated where its name ends in ``.gz``. Raises BadInput where it cannot be read to its end."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: not readable: {error}", "replace the file") from error


def json_file(path: Path) -> Any:
    """The one value of a file. Raises ValueError where it is no JSON, BadInput where it cannot be read or is too large."""
    with opened(path) as stream:
        content = stream.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise BadInput(f"{path}: over {MAX_FILE:,} bytes", "write one JSON object per line, as .jsonl")
    return read_json(content)


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Number, from 1, and value of every line that is not blank; of one that is no JSON the value is a ValueError.

    Raises BadInput for a file that cannot be read to its end, or has a line over ``MAX_LINE``.
    """
    with opened(path) as stream:
        for number, line in enumerate(iter(partial(stream.readline, MAX_LINE), b""), 1):
            if len(line) == MAX_LINE:
                raise BadInput(f"{path}: line {number}: over {MAX_LINE:,} bytes", "write one JSON object per line")
            if line.strip():
                yield number, _value(line)


def _value(line: bytes) -> Any:
    try:
        return read_json(line)
    except ValueError as error:  # UnicodeDecodeError too
        return error
