"""The Hugging Face hub as a source that may be out of reach."""

from webinstruct_assets.core.errors import MissingInput


def unreadable(what: str, error: Exception, instead: str) -> MissingInput:
    """What a failure of the hub's client means to a user: ``what`` was to be read, and what to do ``instead`` of the hub.

    Its client raises a dozen types for: offline, gated, renamed, bad revision.
    """
    reason = str(error).splitlines()[0] if str(error) else ""
    return MissingInput(
        f"{what} cannot be read: {type(error).__name__}: {reason}",
        f"allow access to the hub (HF_ENDPOINT names another one; gated sets need HF_TOKEN), or {instead}",
    )
