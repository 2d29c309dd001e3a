"""Counting tokens as the model does: with its own tokenizer file, without its weights and without transformers."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from webinstruct_assets.core.errors import ConfigError

# What a chat template puts around a message (ChatML 5, Llama 3 5, Mistral 4), and once around all of them: Llama 3
# begins with a header of dates, and an answer with its role. A count that is too high costs a little room.
MESSAGE_TOKENS = 6
TEMPLATE_TOKENS = 32

TokenCounter = Callable[[Sequence[str]], list[int]]
"""Texts -> tokens of each, without special tokens."""


@cache
def load_counter(path: Path) -> TokenCounter:
    """Counter of a ``tokenizer.json``, kept for the process. Raises ConfigError for a file that is none."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise ConfigError(f"{path} is not a tokenizer: {error}", "download the model's tokenizer.json again") from error
    tokenizer.no_truncation()  # some checkpoints were saved with it, and would make every long text equally long
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return count


def chat_tokens(count: TokenCounter, messages: Sequence[dict[str, Any]]) -> int:
    """Tokens of a request's messages in the context: their texts counted, the chat template's own from above."""
    contents = [message["content"] for message in messages]
    return sum(count(contents)) + MESSAGE_TOKENS * len(contents) + TEMPLATE_TOKENS
