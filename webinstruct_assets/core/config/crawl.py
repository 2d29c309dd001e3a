"""Where snapshots are read from, and the labelled pages that recall learns from."""

from pathlib import Path

from pydantic import Field

from webinstruct_assets.core.config.section import Section


class CrawlConfig(Section):
    """Where snapshots are read from: ``local-*`` keys under ``local_root``, others at ``source``.

    ``source`` and its ``mirrors`` (asked in their order where the ones before do not answer): a folder, ``http(s)://``
    or ``s3://BUCKET/PREFIX``. S3 credentials come from the environment (``AWS_ACCESS_KEY_ID``…) unless
    ``s3_anonymous``. ``max_wet_files`` and ``sample_seed``: a random sample of a snapshot's WARC/WET pairs.

    Manners, per process and server: ``connections`` at a time, at most ``requests_per_second``; a request is tried
    ``attempts`` times, waiting ever longer up to ``longest_wait`` seconds (the server's Retry-After too is capped by
    it); a transfer slower than 1 KiB/s for ``stall_seconds`` is taken up anew; after ``breaker_failures`` requests
    given up in a row the server is left alone for ``breaker_seconds``. Redirects are followed within a server and to
    ``redirect_hosts``, never to another scheme. Byte ranges of one file that are at most ``coalesce_gap`` bytes apart
    are read as one, up to ``coalesce_bytes``.
    """

    source: str = "https://data.commoncrawl.org"
    mirrors: tuple[str, ...] = ()
    user_agent: str = "webinstruct-assets (reads Common Crawl files)"
    connections: int = Field(4, ge=1)
    requests_per_second: float = Field(20.0, gt=0)
    attempts: int = Field(6, ge=1)
    longest_wait: float = Field(120.0, ge=0)
    stall_seconds: float = Field(60.0, gt=0)
    breaker_failures: int = Field(3, ge=1)
    breaker_seconds: float = Field(300.0, ge=0)
    redirect_hosts: tuple[str, ...] = ()
    coalesce_gap: int = Field(64 << 10, ge=0)
    coalesce_bytes: int = Field(8 << 20, ge=1)
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_anonymous: bool = True
    local_root: Path = Path("data/crawl")
    demo_sources: Path = Path("data/demo")
    max_wet_files: int | None = Field(None, ge=1)
    sample_seed: int = 0


class SeedsConfig(Section):
    """Labelled pages of both rounds: how many, from how much of the snapshot, and what makes a set unusable.

    ``allow_list``: hosts and URL patterns of the first round's positives. ``user_files``: positives of your own
    (JSONL, Parquet, WARC, WET). ``max_wet_files``: at most so many WET files of the snapshot, chosen by ``seed``,
    are read for a set; null reads all. ``max_ratio``: the larger class has at most so many times the smaller's
    pages. ``min_per_class``: fewer pages of a class stop the run. ``held_out``: share of pages kept for measuring.
    """

    allow_list: Path = Path("config/seed_hosts.yaml")
    user_files: list[Path] = []
    max_positives: int = Field(100_000, ge=1)
    max_negatives: int = Field(100_000, ge=1)
    max_wet_files: int | None = Field(2_000, ge=1)
    max_ratio: float = Field(10.0, ge=1)
    min_per_class: int = Field(50, ge=2)
    held_out: float = Field(0.2, gt=0, lt=1)
    seed: int = 0
