"""Files that inherit from another: ``inherits: NAME`` and below it only what differs.

In: a folder's names, and how to read one; no file is read that nothing inherits from. Out: one file's content with all that it inherits, and which file
each field comes from, so that an error names the file to correct. Mappings are merged field by field; any other value
replaces the inherited one, a list as a whole, and ``null`` with the field's default.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from webinstruct_assets.core.errors import ConfigError

FIELD = "inherits"


def inherited(
    name: str, names: Collection[str], read: Callable[[str], Any], folder: Path
) -> tuple[Any, dict[str, Path]]:
    """The resolved content of file ``name``, and the path that each field (dotted) comes from.

    Raises ConfigError for a chain that runs in a circle or leads to a file that is not there.
    """
    chain, contents = [name], [read(name)]
    while isinstance(contents[-1], Mapping) and FIELD in contents[-1]:
        parent = contents[-1][FIELD]
        where = f"{folder / chain[-1]}.yaml: field {FIELD!r}"
        if parent in chain:
            raise ConfigError(
                f"{where}: runs in a circle: {' → '.join([*chain, parent])}", "let one of them inherit from nothing"
            )
        if not isinstance(parent, str) or parent not in names:
            raise ConfigError(f"{where}: no {folder.name[:-1]} {parent!r}", f"use one of: {', '.join(names)}")
        chain.append(parent)
        contents.append(read(parent))
    content: Any = {}
    origins: dict[str, Path] = {}
    for item, own in zip(reversed(chain), reversed(contents), strict=True):
        if not isinstance(own, Mapping):
            return own, {}  # no mapping at all: validation says so
        content = _merged(content, {key: value for key, value in own.items() if key != FIELD})
        origins |= dict.fromkeys(_fields(own), folder / f"{item}.yaml")
    return _without_nulls(content), origins


def _merged(above: Any, own: Any) -> Any:
    if not (isinstance(above, Mapping) and isinstance(own, Mapping)):
        return own
    return {**above, **{key: _merged(above.get(key), value) for key, value in own.items()}}


def _without_nulls(content: Any) -> Any:
    if not isinstance(content, Mapping):
        return content
    return {key: _without_nulls(value) for key, value in content.items() if value is not None}


def _fields(content: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all fields, those of mappings within included."""
    names = []
    for key, value in content.items():
        names.append(f"{prefix}{key}")
        names += _fields(value, f"{prefix}{key}.") if isinstance(value, Mapping) else []
    return names
