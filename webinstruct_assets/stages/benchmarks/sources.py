"""Where benchmark records come from: a local file (json, jsonl, either gzipped) or a dataset of the hub.

In goes a benchmark's configuration, out come its raw records in source order. What a record means is decided
in ``items``; here only unreadable files and records that are no objects are refused.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import BenchmarkConfig, FileConfig
from webinstruct_assets.core.errors import BadInput, ConfigError, MissingInput, WebInstructError
from webinstruct_assets.core.hub import unreadable
from webinstruct_assets.core.ids import digest_file
from webinstruct_assets.core.json_lines import json_file, json_lines

# ``hub_config: "*"`` reads every configuration of the dataset (BBH has one per task) and writes its name here.
CONFIG_FIELD = "subject"


def require_file(name: str, path: Path, role: str) -> Path:
    """``path`` when it exists. Raises MissingInput naming the benchmark and the fix."""
    if path.is_file():
        return path
    raise MissingInput(
        f"benchmark {name!r}: {role} {path} does not exist",
        f"put it there, or correct config/benchmarks/{name}.yaml",
    )


def read_records(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON list or JSON-lines file, gzipped or not. Raises BadInput naming file and record."""
    records = _json_list(path) if ".json" in path.suffixes else _json_lines(path)
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise BadInput(
                f"{path}: record {number}: {type(record).__name__} instead of an object",
                "write one JSON object per item",
            )
    return records


def _json_list(path: Path) -> list[Any]:
    try:
        content = json_file(path)
    except ValueError as error:  # UnicodeDecodeError too
        raise BadInput(
            f"{path}: not JSON: {error}", "correct the file; one object per line needs the ending .jsonl"
        ) from error
    if not isinstance(content, list):
        raise BadInput(
            f"{path}: record 1: the file holds {type(content).__name__} instead of a list",
            "write a list of objects",
        )
    return content


def _json_lines(path: Path) -> list[Any]:
    records: list[Any] = []
    for number, value in json_lines(path):
        if isinstance(value, ValueError):
            raise BadInput(f"{path}: record {len(records) + 1} (line {number}): not JSON: {value}", "correct that line")
        records.append(value)
    return records


def read_hub(name: str, config: BenchmarkConfig, log: Callable[[str], None]) -> list[dict[str, Any]]:
    """The records of a hub dataset at the configured revision (HF_ENDPOINT names another hub).

    Raises MissingInput naming the benchmark when it cannot be fetched and is not in the local cache.
    """
    if config.hub_file:
        return read_records(fetch(name, config, config.hub_file))
    from datasets import get_dataset_config_names, load_dataset

    hub = _hub(name, config)
    try:
        if config.hub_config != "*":
            return list(load_dataset(hub, config.hub_config, split=config.split, revision=config.revision))
        records: list[dict[str, Any]] = []
        for part in sorted(get_dataset_config_names(hub, revision=config.revision)):
            log(f"benchmark {name}: reading {hub} {part}")
            rows = load_dataset(hub, part, split=config.split, revision=config.revision)
            records += [{CONFIG_FIELD: part, **row} for row in rows]
        return records
    except WebInstructError:
        raise
    except Exception as error:  # of a dozen types
        raise _unreadable(name, config, f"config {config.hub_config}, split {config.split}", error) from error


def fetch(name: str, config: BenchmarkConfig, hub_file: str) -> Path:
    """A file of the hub dataset, in the local cache. Raises MissingInput like ``read_hub``."""
    from huggingface_hub import hf_hub_download

    hub = _hub(name, config)
    try:
        return Path(hf_hub_download(hub, hub_file, repo_type="dataset", revision=config.revision))
    except Exception as error:  # as above
        raise _unreadable(name, config, f"file {hub_file}", error) from error


def local_or_fetched(name: str, config: BenchmarkConfig, beside: FileConfig, root: Path, role: str) -> Path:
    """The path of a file beside the items. Raises MissingInput naming benchmark and ``role``."""
    if beside.file:
        return require_file(name, root / beside.file, role)
    return fetch(name, config, beside.hub_file or "")


def file_identity(name: str, config: BenchmarkConfig, beside: FileConfig, root: Path) -> dict[str, str]:
    """What pins such a file: its digest, or its place on the hub."""
    if beside.file:
        return {"sha256": digest_file(require_file(name, root / beside.file, "file"))}
    return {"hub": str(config.hub), "file": str(beside.hub_file), "revision": config.revision or "main"}


def _hub(name: str, config: BenchmarkConfig) -> str:
    if config.hub is None:
        raise ConfigError(
            f"config/benchmarks/{name}.yaml: neither 'file' nor 'hub' is set",
            "name a local file, or a dataset of the hub",
        )
    return config.hub


def _unreadable(name: str, config: BenchmarkConfig, what: str, error: Exception) -> MissingInput:
    return unreadable(
        f"benchmark {name!r}: {config.hub} ({what}, revision {config.revision or 'main'})",
        error,
        f"set `file:` in config/benchmarks/{name}.yaml",
    )
