"""A trained model as the files that are published: plain safetensors in the base's number format, whatever trained them."""

import json
import os
import shutil
from pathlib import Path


def merge_adapter(base: Path, adapter: Path, target: Path) -> None:
    """``base`` with the LoRA ``adapter`` added to its weights, in ``target`` (float32, with the adapter's tokenizer)."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # under ZeRO-3 every model loaded would be cut up over the processes
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
    AutoTokenizer.from_pretrained(adapter).save_pretrained(target)


def cast_like(base: Path, model: Path) -> None:
    """Stores ``model`` in the number format of ``base``: half the size, and served with the same arithmetic."""
    import torch
    from safetensors.torch import load_file, save_file

    config = json.loads((base / "config.json").read_text())
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    dtype = getattr(torch, name)
    for path in sorted(model.glob("*.safetensors")):
        weights = {
            key: value.to(dtype) if value.is_floating_point() else value for key, value in load_file(path).items()
        }
        save_file(weights, path, metadata={"format": "pt"})
        path.chmod(0o644)
    config_path = model / "config.json"
    own = {key: value for key, value in json.loads(config_path.read_text()).items() if key != "torch_dtype"}
    config_path.write_text(json.dumps({**own, "dtype": name}, indent=2, sort_keys=True))


def copy_model(source: Path, target: Path) -> None:
    """The base model's files in ``target``, hard-linked where the file system can (a zero-step recipe)."""
    partial = target.parent / "scratch" / target.name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        try:
            os.link(path.resolve(), partial / path.name)
        except OSError:
            shutil.copyfile(path, partial / path.name)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
