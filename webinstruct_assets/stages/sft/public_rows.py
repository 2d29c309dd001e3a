"""Rows of public instruction sets, whatever their schema, as one kind of conversation (paper §3.1: multi-turn).

In: a set's configuration. Out: its records in source order, and of each the messages: at most one ``system`` turn
first, then ``user`` and ``assistant`` in turns, an answer last. What is none says why.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import ConversationFields, DatasetConfig, PairFields
from webinstruct_assets.core.errors import BadInput, ConfigError, MissingInput
from webinstruct_assets.core.hub import unreadable
from webinstruct_assets.core.json_lines import json_lines
from webinstruct_assets.core.workspace import Workspace

Message = dict[str, str]
PARQUET_ROWS = 1024


class BadRow(Exception):
    """A record that is no conversation: ``reason`` (``unreadable``, ``bad_field``, ``bad_order``) and ``detail``."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def dataset_config(ws: Workspace, name: str) -> DatasetConfig:
    """The set's file. Raises ConfigError naming the known ones."""
    if name not in ws.files.datasets:
        known = ", ".join(ws.files.datasets)
        raise ConfigError(f"no dataset {name!r}", f"add config/datasets/{name}.yaml, or use one of: {known}")
    return ws.files.datasets[name]


def source_file(ws: Workspace, name: str, config: DatasetConfig) -> Path | None:
    """The local file of a set, None for one on the hub. Raises MissingInput where it does not exist."""
    kind, _, place = config.source.partition(":")
    if kind == "hub":
        return None
    path = ws.path(Path(place))
    if path.is_file():
        return path
    raise MissingInput(
        f"dataset {name!r}: {path} does not exist", f"put it there, or correct `source` in config/datasets/{name}.yaml"
    )


def records(ws: Workspace, name: str, log: Callable[[str], None]) -> Iterator[Any]:
    """The set's records in source order; one that cannot be read is the BadRow that says why.

    Raises MissingInput for a file or hub dataset out of reach, BadInput for a file that is no text or no Parquet.
    """
    config = dataset_config(ws, name)
    path = source_file(ws, name, config)
    if path is None:
        return _hub(name, config, log)
    return _parquet(path) if path.suffix == ".parquet" else _lines(path)


def _lines(path: Path) -> Iterator[Any]:
    for number, value in json_lines(path):
        yield BadRow("unreadable", f"line {number}: {value}") if isinstance(value, ValueError) else value


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(PARQUET_ROWS):
            yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path}: not readable as Parquet: {error}", "replace the file") from error


def _hub(name: str, config: DatasetConfig, log: Callable[[str], None]) -> Iterator[Any]:
    from datasets import disable_progress_bars, load_dataset

    place = config.source.partition(":")[2]
    disable_progress_bars()
    log(f"dataset {name}: reading {place}@{config.revision} from the Hugging Face hub, or its cache")
    try:
        data = load_dataset(place, split=config.split, revision=config.revision)
    except Exception as error:  # of a dozen types
        where = f"dataset {name!r}: {place} (split {config.split}, revision {config.revision})"
        raise unreadable(where, error, "download it and use path:FILE") from error
    yield from data


def messages_of(record: Any, config: DatasetConfig) -> list[Message]:
    """The conversation in a record. Raises BadRow naming field and turn."""
    if isinstance(record, BadRow):
        raise record
    if not isinstance(record, Mapping):
        raise BadRow("unreadable", f"{type(record).__name__} instead of an object")
    if config.pair:
        return _pair(record, config.pair)
    assert config.conversation is not None
    return _conversation(record, config.conversation)


def _pair(record: Mapping[str, Any], fields: PairFields) -> list[Message]:
    return [
        {"role": role, "content": _text(record, field)}
        for role, field in (("user", fields.question), ("assistant", fields.answer))
    ]


def _conversation(record: Mapping[str, Any], fields: ConversationFields) -> list[Message]:
    turns = record.get(fields.turns)
    if not isinstance(turns, list):
        raise BadRow("bad_field", f"{fields.turns}: {type(turns).__name__} instead of a list of turns")
    messages: list[Message] = []
    for number, turn in enumerate(turns):
        where = f"{fields.turns}[{number}]"
        if not isinstance(turn, Mapping):
            raise BadRow("bad_field", f"{where}: {type(turn).__name__} instead of an object")
        role = fields.roles.get(str(turn.get(fields.role)))
        if role is None:
            raise BadRow("bad_field", f"{where}.{fields.role}: {turn.get(fields.role)!r} is no known role")
        if role == "system" and not turn.get(fields.content):
            continue  # some sets have an empty one everywhere
        messages.append({"role": role, "content": _text(turn, fields.content, f"{where}.")})
    roles = [message["role"] for message in messages]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if not spoken or len(spoken) % 2 or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise BadRow("bad_order", f"{fields.turns}: {', '.join(roles) or 'no turn'}; user and assistant must alternate")
    return messages


def _text(record: Mapping[str, Any], field: str, prefix: str = "") -> str:
    text = record.get(field)
    if not isinstance(text, str) or not text.strip():
        found = "empty" if isinstance(text, str) else f"{type(text).__name__} instead of text"
        raise BadRow("bad_field", f"{prefix}{field}: {found}")
    return text
