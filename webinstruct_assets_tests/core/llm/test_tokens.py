"""Counting with a model's own tokenizer, and where that comes from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from webinstruct_assets.core.errors import ConfigError, MissingModel
from webinstruct_assets.core.llm.models import ModelSpec, tokenizer_file, tokenizer_identity
from webinstruct_assets.core.llm.tokens import chat_tokens, load_counter
from webinstruct_assets.stages.extraction.prompt import load_prompt

TEXTS = [
    "",
    "plain words",
    "Wärmeausdehnungskoeffizient",
    "微分方程式を解きなさい",
    r"\(\frac{d}{dx}x^{2}\)",
    "<|im_end|>",
]


@pytest.mark.llm
def test_counts_are_those_of_transformers(demo_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_model)
    count = load_counter(demo_model / "tokenizer.json")
    assert count(TEXTS) == [len(tokenizer.encode(text, add_special_tokens=False)) for text in TEXTS]
    assert load_counter(demo_model / "tokenizer.json") is count
    messages = list(load_prompt("point").messages)
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    real = len(tokenizer.encode(rendered, add_special_tokens=False))
    assert real <= chat_tokens(count, messages) <= real + 50


@pytest.mark.llm
def test_a_model_on_an_endpoint_needs_a_tokenizer_but_no_weights(demo_model: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((demo_model / "tokenizer.json").read_bytes())
    remote = ModelSpec("big", "hub:acme/big", base_url="http://127.0.0.1:9/v1", tokenizer=f"path:{tmp_path}")
    file = tokenizer_file(remote, tmp_path / "models", print)
    assert file == tmp_path / "tokenizer.json" and load_counter(file)(["two words"]) == [2]
    same = ModelSpec("big", f"path:{tmp_path}", base_url="http://127.0.0.1:9/v1")
    assert tokenizer_file(same, tmp_path / "models", print) == file


def test_missing_tokenizer_names_the_field(tmp_path: Path) -> None:
    remote = ModelSpec("big", f"path:{tmp_path}", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(MissingModel, match=r"'big': no tokenizer at path:(?s:.*)`tokenizer: path:DIR`"):
        tokenizer_file(remote, tmp_path, print)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer\.json is not a tokenizer"):
        load_counter(tokenizer_file(remote, tmp_path, print))


def test_hub_tokenizer_is_looked_for_in_the_cache_and_missing_when_offline(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from webinstruct_assets.core.llm.models import ModelSpec, tokenizer_file\n"
        "spec = ModelSpec('big', 'hub:acme/big', revision='v2', base_url='http://127.0.0.1:9/v1')\n"
        "print(tokenizer_file(spec, Path('.'), lambda line: None))\n"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "MissingModel: model 'big': no tokenizer at hub:acme/big: revision v2" in answer.stderr
    assert "`tokenizer: path:DIR`" in answer.stderr
    repo = tmp_path / "hub/models--acme--big"  # as the hub's client lays its cache out
    (repo / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs/v2").write_text("a" * 40)
    (repo / "snapshots" / ("a" * 40) / "tokenizer.json").write_text("{}")
    answer = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert answer.stdout.strip().endswith("/tokenizer.json")


def test_identity_is_recorded_where_the_models_says_nothing_about_it(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/v1"
    assert tokenizer_identity(ModelSpec("m", "hub:acme/big"), tmp_path) == ""
    assert (
        tokenizer_identity(ModelSpec("m", "hub:acme/big", revision="v2", base_url=url), tmp_path) == "hub:acme/big@v2"
    )
    other = ModelSpec("m", "hub:acme/big", revision="v2", base_url=url, tokenizer="hub:acme/words@v9")
    assert tokenizer_identity(other, tmp_path) == "hub:acme/words@v9"
    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(text)
    a, b, c = (tokenizer_identity(ModelSpec("m", "hub:x/y", tokenizer=f"path:{tmp_path / n}"), tmp_path) for n in "abc")
    assert a == b != c
