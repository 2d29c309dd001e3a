"""Counting tokens as a model does: by its own ``tokenizer.json``, without loading the model or transformers."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from webinstruct_assets.core.errors import MissingModel
from webinstruct_assets.core.ids import digest_file

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.models import ModelSpec

FILE = "tokenizer.json"
TokenCounts = Callable[[Sequence[str]], list[int]]


def token_counts(spec: "ModelSpec", models_dir: Path, log: Callable[[str], None]) -> TokenCounts:
    """A function that tells the tokens of each text, special ones left out.

    The tokenizer is that of ``spec.tokenizer`` where it is set, else of the model's source; of a hub's model behind an
    endpoint only this one file is fetched. Raises MissingModel where it cannot be had.
    """
    return _counter(_tokenizer_file(spec, models_dir, log))


def tokenizer_digest(path: Path) -> str:
    """sha256 of a configured tokenizer, "" where it is not there (yet): what provenance records of it."""
    file = path if path.is_file() else path / FILE
    return digest_file(file) if file.is_file() else ""


def _tokenizer_file(spec: "ModelSpec", models_dir: Path, log: Callable[[str], None]) -> Path:
    from webinstruct_assets.core.llm.models import resolve_model

    kind, _, rest = spec.source.partition(":")
    if spec.tokenizer is not None:
        path = spec.tokenizer if spec.tokenizer.is_file() else spec.tokenizer / FILE
    elif spec.base_url is not None and kind == "hub":
        path = _from_hub(spec, rest)
    else:
        path = resolve_model(spec, models_dir, log) / FILE
    if not path.is_file():
        raise MissingModel(f"model {spec.name!r}: no {path}", f"set its `tokenizer` to a folder that has {FILE}")
    return path


def _from_hub(spec: "ModelSpec", repo: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, FILE, revision=spec.revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise MissingModel(
            f"model {spec.name!r}: the tokenizer of {repo} cannot be fetched: {error}",
            f"set the model's `tokenizer` to a folder that has its {FILE}, or correct `source` and `revision`",
        ) from error


@lru_cache(maxsize=4)
def _counter(path: Path) -> TokenCounts:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def counts(texts: Sequence[str]) -> list[int]:
        return [len(encoded.ids) for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    return counts
