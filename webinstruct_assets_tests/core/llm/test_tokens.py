"""Tokens by the demo model's own tokenizer, and cuts that keep to a budget of them in any script."""

from dataclasses import replace
from pathlib import Path

import pytest

from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.errors import ConfigError, MissingModel
from webinstruct_assets.core.llm.models import ModelSpec
from webinstruct_assets.core.llm.tokens import chat_tokens, token_counts, tokenizer_identity
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.lines import cuts, line_spans, numbered
from webinstruct_assets.stages.extraction.prompt import line_costs, load_prompt

MODEL = "smollm2-135m"
LINES = {
    "German": "Donaudampfschifffahrtsgesellschaftskapitäne berechnen die Geschwindigkeitsüberschreitungen: Wie groß ist sie?",
    "Japanese": "次の二次方程式を解きなさい。ただし、解は実数の範囲で求めること。x の値はいくつですか？",
    "TeX": r"Compute $\int_0^{\pi/2} \frac{\sin^{2n+1} x}{\sqrt{1 + \cos^2 x}}\,dx$ for $n \in \mathbb{N}$. What is it?",
    "English": "A tank holds 80 litres and a quarter of it is drained in five minutes. How much is left in the tank?",
}


@pytest.mark.parametrize("language", LINES)
def test_no_cut_exceeds_the_budget_by_the_models_own_count(workspace: Workspace, language: str) -> None:
    count = workspace.token_counts(MODEL, print)
    text = "\n".join(LINES[language] for _ in range(40))
    spans, budget = line_spans(text), 400
    pieces = cuts(text, spans, line_costs(load_prompt("point"), text, spans, count), budget, list(range(1, 41)))
    assert len(pieces) > 2 and {n for cut in pieces for n in range(cut.first, cut.last + 1)} == set(range(1, 41))
    assert max(count([numbered(text, spans, cut) for cut in pieces])) <= budget


def test_an_endpoints_model_may_name_its_tokenizer(workspace: Workspace, tmp_path: Path) -> None:
    folder = workspace.model_dir(MODEL, print)
    endpoint = {"source": "hub:some/model", "base_url": "http://127.0.0.1:9/v1"}
    workspace.files.environment = workspace.config.model_copy(
        update={
            "models": {
                "here": ModelConfig(**endpoint, tokenizer=folder),
                "nowhere": ModelConfig(**endpoint, tokenizer=tmp_path),
            }
        }
    )
    assert workspace.token_counts("here", print)(["Hello world", ""]) == [2, 0]
    with pytest.raises(MissingModel, match=r"model 'nowhere': no .*tokenizer\.json"):
        workspace.token_counts("nowhere", print)


@pytest.mark.llm
def test_counts_are_those_of_transformers_and_of_the_chat_template(workspace: Workspace) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(workspace.model_dir(MODEL, print))
    count = workspace.token_counts(MODEL, print)
    texts = ["", "<|im_end|>", *LINES.values()]
    assert count(texts) == [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    messages = list(load_prompt("point").messages)
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    real = len(tokenizer.encode(rendered, add_special_tokens=False))
    assert real <= chat_tokens(count, messages) <= real + 50


def test_an_endpoints_path_needs_no_weights(tmp_path: Path) -> None:
    remote = ModelSpec("big", f"path:{tmp_path}", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(MissingModel, match=r"'big': no .*tokenizer\.json"):
        token_counts(remote, tmp_path, print)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer\.json is not a tokenizer"):
        token_counts(remote, tmp_path, print)


def test_identity_is_recorded_where_the_models_says_nothing_about_it(tmp_path: Path) -> None:
    remote = ModelSpec("m", "hub:acme/big", revision="v2", base_url="http://127.0.0.1:9/v1")
    assert tokenizer_identity(replace(remote, base_url=None), tmp_path) == ""
    assert tokenizer_identity(remote, tmp_path) == "hub:acme/big@v2"
    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(text)
    a, b, c = (tokenizer_identity(replace(remote, tokenizer=tmp_path / name), tmp_path) for name in "abc")
    assert a == b != c
