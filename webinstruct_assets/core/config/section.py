"""What all settings are made of: a section that refuses unknown fields, and files read into one with clear errors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from webinstruct_assets.core.errors import BadKey, ConfigError


class Section(BaseModel):
    """Base of all settings: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def settings_of(section: Section) -> dict[str, Any]:
    """A section as the JSON that enters a fingerprint."""
    return section.model_dump(mode="json")


SectionType = TypeVar("SectionType", bound=Section)


def load_yaml(path: Path, model: type[SectionType]) -> SectionType:
    """One validated file. Raises ConfigError naming the file and the field."""
    return validate(path, read_yaml(path), model)


def read_yaml(path: Path) -> Any:
    """A YAML file's content. Raises ConfigError when it is missing or is not YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", "create it, or correct the name that points at it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}", "correct the file") from error


def validate(
    path: Path, content: Any, model: type[SectionType], origins: Mapping[str, Path] | None = None
) -> SectionType:
    """``content`` as ``model``. Raises ConfigError naming the first wrong field and its file.

    That is ``path``, or where a field was inherited, its file in ``origins``.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        steps = [str(step) for step in first["loc"]]
        outer = (".".join(steps[:length]) for length in range(len(steps), 0, -1))
        path = next((origins[name] for name in outer if origins and name in origins), path)
        field = ".".join(steps) or "(top level)"
        allowed = ", ".join(model.model_fields)
        raise ConfigError(
            f"{path}: field {field!r}: {first['msg']}",
            f"correct that field; {model.__name__} has: {allowed}",
        ) from error
    except BadKey as error:
        raise BadKey(f"{path}: {error.problem}", error.fix) from error
