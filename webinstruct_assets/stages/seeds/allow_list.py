"""The allow-list: which pages of a crawl are exam-style because of where they are (paper §2.1)."""

import re
from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from webinstruct_assets.core.config import Section
from webinstruct_assets.core.urls import host_of

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
_WILD = {"*": ".*", "?": "."}


def glob_regex(glob: str) -> re.Pattern[str]:
    """A glob over a URL's path and query: ``*`` is any text, slashes too, ``?`` one character; case counts."""
    return re.compile("".join(_WILD.get(character) or re.escape(character) for character in glob), re.DOTALL)


def _check_glob(glob: str) -> str:
    if not glob.startswith(("/", "*")):
        raise ValueError(f"{glob!r} starts with neither '/' nor '*': a URL's path starts with '/'")
    return glob


class AllowedHost(Section):
    """A host whose pages are exam-style, and the reason for trusting it; ``paths``: globs, one must match the page."""

    host: str
    reason: str
    kind: Literal["exam", "quiz", "homework", "textbook", "qa", "other"] = "other"
    paths: list[str] = Field(default_factory=list)

    @field_validator("host")
    @classmethod
    def _bare_host(cls, value: str) -> str:
        if not _HOST.fullmatch(value):
            raise ValueError(f"{value!r} is not a lower-case host name (no scheme, port, path or wildcard)")
        return value

    @field_validator("paths")
    @classmethod
    def _globs(cls, value: list[str]) -> list[str]:
        return [_check_glob(glob) for glob in value]


class UrlPattern(Section):
    """A pattern that makes pages of any host exam-style: ``glob`` over the whole path and query, or ``regex`` in it."""

    reason: str
    glob: str | None = None
    regex: str | None = None

    @field_validator("glob")
    @classmethod
    def _glob(cls, value: str | None) -> str | None:
        return value if value is None else _check_glob(value)

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> "UrlPattern":
        if (self.glob is None) == (self.regex is None):
            raise ValueError("give either glob or regex")
        return self


class AllowList(Section):
    """A file such as ``config/seed_hosts.yaml``. A host covers its subdomains; of two that do, the longer counts."""

    hosts: list[AllowedHost] = Field(default_factory=list)
    patterns: list[UrlPattern] = Field(default_factory=list)

    @field_validator("hosts")
    @classmethod
    def _listed_once(cls, value: list[AllowedHost]) -> list[AllowedHost]:
        seen: set[str] = set()
        for item in value:
            if item.host in seen:
                raise ValueError(f"{item.host!r} is listed twice")
            seen.add(item.host)
        return value

    @cached_property
    def _by_host(self) -> dict[str, tuple[AllowedHost, list[re.Pattern[str]]]]:
        return {item.host: (item, [glob_regex(glob) for glob in item.paths]) for item in self.hosts}

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str], bool]]:
        return [
            (item.glob, glob_regex(item.glob), True)
            if item.glob is not None
            else (item.regex or "", re.compile(item.regex or ""), False)
            for item in self.patterns
        ]

    def entry(self, host: str) -> AllowedHost | None:
        """The listed host that covers ``host``."""
        labels = host.split(".")
        for start in range(len(labels) - 1):
            if found := self._by_host.get(".".join(labels[start:])):
                return found[0]
        return None

    def whole(self, host: str) -> bool:
        """Whether every page of ``host`` is listed."""
        listed = self.entry(host)
        return listed is not None and not listed.paths

    def match(self, url: str) -> str:
        """What makes the page at ``url`` exam-style: ``allow_list:HOST``, ``pattern:TEXT``, or "" (nothing does)."""
        listed = self.entry(host_of(url))
        path = _path_of(url) if self.patterns or (listed and listed.paths) else ""
        if listed and (not listed.paths or any(glob.fullmatch(path) for glob in self._by_host[listed.host][1])):
            return f"allow_list:{listed.host}"
        for text, pattern, whole in self._patterns:
            if pattern.fullmatch(path) if whole else pattern.search(path):
                return f"pattern:{text}"
        return ""


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # e.g. a malformed IPv6 literal
        return "/"
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
