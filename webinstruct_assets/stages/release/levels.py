"""The level at which a pair is taught, where its page's URL names one.

In: a URL. Out: a level, or None where the URL names none or several.
"""

import re
from functools import cache
from pathlib import Path

from webinstruct_assets.core.config import Section, load_yaml

LEVELS = ("primary", "secondary", "undergraduate", "graduate")
RULES = Path(__file__).parent / "rules/levels.yaml"


class LevelRules(Section):
    """The rule file: words per level."""

    primary: list[str]
    secondary: list[str]
    undergraduate: list[str]
    graduate: list[str]


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    rules = load_yaml(RULES, LevelRules)
    return {
        level: re.compile(rf"(?<![a-z0-9])(?:{'|'.join(map(re.escape, getattr(rules, level)))})(?![a-z0-9])")
        for level in LEVELS
    }


def level_by_rule(url: str) -> str | None:
    """The one level that the URL names."""
    named = [level for level, pattern in _patterns().items() if pattern.search(url.lower())]
    return named[0] if len(named) == 1 else None
