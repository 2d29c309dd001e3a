"""URL parts that several stages group by."""

from functools import cache, lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import polars as pl
    from tldextract import TLDExtract


@cache
def public_suffixes() -> "TLDExtract":
    """The public-suffix list: called with a host, it tells suffix, domain and subdomain."""
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
    return public_suffixes()(host).top_domain_under_public_suffix or host


HOSTS = 1_000_000  # remembered per process, some 200 MB: a WET file names some 20,000, many again and again
_registrable_domain = lru_cache(maxsize=HOSTS)(registrable_domain)


def registrable_domains(urls: "pl.Series") -> "pl.Series":
    """``registrable_domain`` of every URL of a column of strings; each host is looked up once."""
    import polars as pl

    # What stands before the path, which is all the host depends on; the whole URL where it has another form.
    places = urls.str.extract(r"^([A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)")
    places = pl.select(pl.coalesce(places, urls)).to_series()
    distinct = places.unique()
    domains = [_registrable_domain(place) for place in distinct.to_list()]
    return places.replace_strict(distinct, pl.Series(domains, dtype=pl.String), return_dtype=pl.String)
