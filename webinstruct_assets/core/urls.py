"""URL parts that several stages group by."""

from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tldextract import TLDExtract


@cache
def _extractor() -> "TLDExtract":
    from tldextract import TLDExtract

    # The list bundled with the (pinned) package: a list fetched at run time would make results depend on the day.
    return TLDExtract(suffix_list_urls=(), cache_dir=None)


def host_of(url: str) -> str:
    """Lower-case host name of a URL, "" when it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:  # e.g. a malformed IPv6 literal
        return ""


def registrable_domain(url: str) -> str:
    """Registrable root by the public-suffix list (``a.b.co.uk`` -> ``b.co.uk``); the host itself where there is none."""
    host = host_of(url)
    return _extractor()(host).top_domain_under_public_suffix or host
