"""Counting tokens as a model does: by its own ``tokenizer.json``, without loading the model or transformers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.errors import ConfigError, MissingModel
from webinstruct_assets.core.ids import digest_file

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.models import ModelSpec

FILE = "tokenizer.json"
# What a chat template puts around a message (ChatML 5, Llama 3 5, Mistral 4), and once around all of them: Llama 3
# begins with a header of dates, and an answer with its role. A count that is too high costs a little room.
MESSAGE_TOKENS = 6
TEMPLATE_TOKENS = 32
TokenCounts = Callable[[Sequence[str]], list[int]]


def token_counts(spec: "ModelSpec", models_dir: Path, log: Callable[[str], None]) -> TokenCounts:
    """A function that tells the tokens of each text, special ones left out.

    The tokenizer is that of ``spec.tokenizer`` where it is set, else of the model's source; of a hub's model only this
    one file is fetched. Raises MissingModel where it cannot be had, ConfigError for a file that is no tokenizer.
    """
    return _counter(_tokenizer_file(spec, models_dir, log))


def chat_tokens(count: TokenCounts, messages: Sequence[dict[str, Any]]) -> int:
    """Tokens of a request's messages in the context: their texts counted, the chat template's own from above."""
    contents = [message["content"] for message in messages]
    return sum(count(contents)) + MESSAGE_TOKENS * len(contents) + TEMPLATE_TOKENS


def tokenizer_identity(spec: "ModelSpec", models_dir: Path) -> str:
    """What provenance records of the tokenizer where the model's identity says nothing about it; "" where it does."""
    from webinstruct_assets.core.llm.models import model_identity

    if spec.tokenizer is None and spec.base_url is None:
        return ""
    if spec.tokenizer is None and not spec.source.startswith("path:"):
        return model_identity(replace(spec, base_url=None), models_dir)
    return f"sha256:{digest_file(_tokenizer_file(spec, models_dir, lambda line: None))}"


def _tokenizer_file(spec: "ModelSpec", models_dir: Path, log: Callable[[str], None]) -> Path:
    from webinstruct_assets.core.llm.models import resolve_model

    kind, _, rest = spec.source.partition(":")
    if spec.tokenizer is not None:
        path = spec.tokenizer if spec.tokenizer.is_file() else spec.tokenizer / FILE
    elif kind == "hub":
        path = _from_hub(spec, rest)
    elif kind == "path":
        path = Path(rest).expanduser().resolve() / FILE
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

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise ConfigError(f"{path} is not a tokenizer: {error}", "download the model's tokenizer.json again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def counts(texts: Sequence[str]) -> list[int]:
        return [len(encoded.ids) for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    return counts
