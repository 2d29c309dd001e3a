"""Errors a user is meant to read: each names the thing that is wrong and what to do about it."""


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
