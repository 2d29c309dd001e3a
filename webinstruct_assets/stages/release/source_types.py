"""The source type of a host (education, forum, other) by what its name and its URLs say.

In: a host and URLs of its pages. Out: a type, or None where they do not decide.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from webinstruct_assets.core.config import Section, load_yaml
from webinstruct_assets.stages.release.subjects import leader

SOURCE_TYPES = ("education", "forum", "other")
RULES = Path(__file__).parent / "rules/source_types.yaml"
HOST_WORD, PATH_WORD = 2, 3


class Signs(Section):
    """What speaks for one type."""

    hosts: list[str]
    host_words: list[str]
    path_words: list[str]


class SourceTypeRules(Section):
    """The rule file."""

    margin: int
    education: Signs
    forum: Signs
    other: Signs


@cache
def _rules() -> SourceTypeRules:
    return load_yaml(RULES, SourceTypeRules)


def source_type_by_rule(host: str, urls: Sequence[str]) -> str | None:
    """The type that the host and the folders of its ``urls`` point to, None when they point nowhere or both ways."""
    rules = _rules()
    signs: dict[str, Signs] = {name: getattr(rules, name) for name in SOURCE_TYPES}
    for name, sign in signs.items():
        if any(host == known or host.endswith("." + known) for known in sign.hosts):
            return name
    host_words = set(re.findall(r"[a-z]+", host))
    folders = [_folder_words(url) for url in urls]
    points = {
        name: HOST_WORD * bool(host_words & set(sign.host_words))
        + PATH_WORD * sum(bool(words & set(sign.path_words)) for words in folders) / max(1, len(folders))
        for name, sign in signs.items()
    }
    return leader(points, rules.margin, rules.margin)


def _folder_words(url: str) -> set[str]:
    """Words of a URL's folders: whole segments and their parts, without the page's own name."""
    folders = urlsplit(url).path.lower().split("/")[1:-1]
    return {word for folder in folders for word in [folder, *re.findall(r"[a-z]+", folder)]}
