"""Partition keys: validated wherever one becomes a path, a URL or an SQL literal.

A key maps dimensions to values: ``{snapshot: local-demo}`` or ``{refiner: a, snapshot: local-demo}``. Its
string is Dagster's: values joined by ``|`` in the order of the sorted dimension names, "" for an asset without any.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from webinstruct_assets.core.errors import BadKey

CRAWL_PATTERN = re.compile(r"CC-MAIN-[0-9]{4}-[0-9]{2}")
SNAPSHOT_PATTERN = re.compile(rf"{CRAWL_PATTERN.pattern}|local-[a-z0-9]+(-[a-z0-9]+)*")
PROFILE = "@"  # SNAPSHOT@PROFILE: the snapshot's pages, its pairs extracted by a profile of config/extractors
NAME_PATTERN = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
MAX_LENGTH = 80


def check_snapshot(key: str) -> str:
    """Returns ``key`` when it names a snapshot, ``SNAPSHOT`` or ``SNAPSHOT@PROFILE``, else raises BadKey."""
    plain, separator, profile = key.partition(PROFILE)
    if separator:
        check_name("extraction profile", profile)
    check_plain_snapshot(plain)
    return key


def check_plain_snapshot(key: str) -> str:
    """Returns ``key`` when it is ``CC-MAIN-YYYY-WW`` or ``local-NAME``, else raises BadKey."""
    if len(key) <= MAX_LENGTH and SNAPSHOT_PATTERN.fullmatch(key):
        return key
    raise BadKey(
        f"{key!r} is not a snapshot key",
        "use CC-MAIN-YYYY-WW for a Common Crawl snapshot, or local-NAME (lower-case letters, digits, hyphens)",
    )


def plain_snapshot(key: str) -> str:
    """The snapshot itself, without an extraction profile."""
    return key.partition(PROFILE)[0]


def profile_of(key: str) -> str | None:
    """The extraction profile in a snapshot's key, None where there is none."""
    return key.partition(PROFILE)[2] or None


def check_name(kind: str, name: str) -> str:
    """Returns ``name`` when it can name a refiner, recipe or benchmark, else raises BadKey."""
    if len(name) <= MAX_LENGTH and NAME_PATTERN.fullmatch(name):
        return name
    raise BadKey(f"{name!r} is not a {kind} name", "use lower-case letters, digits, dots and hyphens")


@dataclass(frozen=True)
class PartitionKey:
    """One partition: (dimension, value) pairs sorted by dimension; every value is validated."""

    dims: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, values: Mapping[str, str]) -> "PartitionKey":
        """The key with these dimension values. Raises BadKey for a value that is not a valid name."""
        for dimension, value in values.items():
            check_snapshot(value) if dimension == "snapshot" else check_name(dimension, value)
        return cls(tuple(sorted(values.items())))

    @classmethod
    def parse(cls, dimensions: tuple[str, ...], text: str) -> "PartitionKey":
        """The key that Dagster writes as ``text`` for an asset with these dimensions. Raises BadKey."""
        names, values = sorted(dimensions), text.split("|") if dimensions or text else []
        if len(names) != len(values):
            raise BadKey(
                f"{text!r} is not a partition of ({' × '.join(names)})",
                f"write it as {'|'.join(names).upper()}",
            )
        return cls.of(dict(zip(names, values, strict=True)))

    def __getitem__(self, dimension: str) -> str:
        return dict(self.dims)[dimension]

    def __str__(self) -> str:
        return "|".join(value for _, value in self.dims)

    def as_dict(self) -> dict[str, str]:
        """Dimension -> value."""
        return dict(self.dims)

    def path(self) -> str:
        """The hive-style relative folder of this partition, e.g. ``refiner=a/snapshot=local-demo``."""
        return "/".join(f"{dimension}={value}" for dimension, value in self.dims)


@dataclass(frozen=True)
class Ref:
    """One partition of one asset: the unit that manifests, links and ``trace`` speak of."""

    asset: str
    key: PartitionKey

    def __str__(self) -> str:
        return f"{self.asset}/{self.key}" if self.key.dims else self.asset

    def path(self) -> str:
        """The relative folder of this partition, e.g. ``pages/snapshot=local-demo``."""
        return f"{self.asset}/{self.key.path()}" if self.key.dims else self.asset
