"""JSON and JSON lines, gzipped or not, that anybody may have written: what a bad line means is the reader's to say."""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from webinstruct_assets.core.errors import BadInput


@contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """The file's content, inflated where its name ends in ``.gz``. Raises BadInput where it cannot be read to its end."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: not readable: {error}", "replace the file") from error


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Number, from 1, and value of every line that is not blank; of one that is no JSON the value is a ValueError.

    Raises BadInput for a file that cannot be read to its end.
    """
    with opened(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, _value(line)


def _value(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except ValueError as error:  # UnicodeDecodeError too
        return error
