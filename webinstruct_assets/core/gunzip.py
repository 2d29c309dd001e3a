"""Inflating what came from elsewhere: never more than its reader can hold, whatever a few bytes claim to be."""

import gzip
import io

from webinstruct_assets.core.errors import BadInput


def gunzip(data: bytes, limit: int, what: str) -> bytes:
    """The content of gzip ``data``. Raises BadInput, naming ``what``, where it is damaged or has over ``limit`` bytes."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            content = stream.read(limit + 1)
    except (OSError, EOFError) as error:
        raise BadInput(f"{what}: not readable as gzip ({error})", "fetch it again") from error
    if len(content) > limit:
        raise BadInput(f"{what}: more than {limit:,} bytes once inflated", "look at what the source serves there")
    return content
