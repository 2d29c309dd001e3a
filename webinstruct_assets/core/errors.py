"""Errors a user is meant to read: each names the thing that is wrong and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager


class WebInstructError(Exception):
    """A problem the user can fix. ``problem`` names the file, record or setting; ``fix`` says what to do."""

    def __init__(self, problem: str, fix: str):
        super().__init__(f"{problem}\n  fix: {fix}")
        self.problem = problem
        self.fix = fix


class BadKey(WebInstructError):
    """A partition key that is not one (it would become a path or an SQL literal)."""


class ConfigError(WebInstructError):
    """A configuration file that cannot be read, or holds a wrong field."""


class MissingInput(WebInstructError):
    """Something upstream (a partition, snapshot or file) that has not been made yet."""


class BadInput(WebInstructError):
    """A file that exists but does not hold what it should."""


class BadManifest(WebInstructError):
    """A manifest or part that does not match what was published."""


class MissingModel(WebInstructError):
    """A model whose weights cannot be found."""


class DeadEndpoint(WebInstructError):
    """An LLM endpoint that does not answer."""


class QualityGate(WebInstructError):
    """A result too poor to publish; the previous version stays in place."""


class Busy(WebInstructError):
    """Another run holds the lock of the same partition."""


class UnitsFailed(WebInstructError):
    """Some units of a stage failed; all others are committed."""


class Unavailable(WebInstructError):
    """A server that does not answer now: nothing is known about what it holds, and a later run may succeed."""


class Unwritable(WebInstructError):
    """A disk that is full, over quota or read-only; the previous version stays in place."""


# In the words of the kernel and of SQLite: libraries that write for us keep the text, not the number.
_UNWRITABLE = (
    "No space left on device", "Disk quota exceeded", "File too large", "Read-only file system", "disk is full", "readonly database",
    "unable to open database file", "disk I/O error",
)  # fmt: skip


@contextmanager
def disk_errors_named(where: str) -> Iterator[None]:
    """Turns whatever a full or read-only disk makes of a write into Unwritable."""
    try:
        yield
    except WebInstructError:
        raise
    except Exception as error:
        if not any(words in str(error) for words in _UNWRITABLE):
            raise
        raise Unwritable(
            f"{where}: cannot write: {error}",
            "make room (`webinstruct status` shows what takes how much), or mount it writable, then run it again: "
            "what was committed is kept, and what was published before is untouched",
        ) from error
