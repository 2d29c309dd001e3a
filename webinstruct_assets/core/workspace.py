"""A workspace: one environment's configuration on one machine, and the handles that stages are given.

root/config      declarative files            root/data/lake     partitions
root/data/crawl  local snapshots              root/data/models   local checkpoints
root/data/llm    server leases, answered requests
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from webinstruct_assets.core.config import Config, Environment
from webinstruct_assets.core.errors import ConfigError, WebInstructError
from webinstruct_assets.core.keys import check_snapshot
from webinstruct_assets.core.lake import Lake, write_atomically

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmClient, Usage
    from webinstruct_assets.core.llm.ledger import Ledger
    from webinstruct_assets.core.llm.models import ModelSpec
    from webinstruct_assets.core.llm.tokens import TokenCounts

PROJECT_ROOT = Path(__file__).parents[2]


def project_root() -> Path:
    """Folder that holds ``config`` and ``data``: WEBINSTRUCT_HOME, by default the checkout."""
    return Path(os.environ.get("WEBINSTRUCT_HOME", PROJECT_ROOT)).resolve()


def run_subprocess(command: Sequence[str], env: Mapping[str, str], log: Callable[[str], None]) -> None:
    """Runs a stage's child process to its end, logging its lines. Raises WebInstructError with its last lines."""
    tail: list[str] = []
    with subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            log(line.rstrip())
            tail = [*tail[-19:], line.rstrip()]
    if child.returncode:
        raise WebInstructError(
            f"{' '.join(command[:3])} … ended with {child.returncode}:\n" + "\n".join(tail),
            "see the lines above",
        )


Launch = Callable[[Sequence[str], Mapping[str, str], Callable[[str], None]], None]


@dataclass(frozen=True)
class Workspace:
    """``launch`` starts a stage's child process (training); Dagster puts Pipes there.

    ``llm_usage``: of every client so far, for what a build costs as it runs.
    """

    root: Path
    files: Config
    launch: Launch = field(default=run_subprocess)
    llm_usage: list["Usage"] = field(default_factory=list)

    @classmethod
    def open(cls, root: Path | None = None, environment: str | None = None) -> "Workspace":
        """The workspace at ``root`` (default: ``project_root()``) in ``environment`` (default: WEBINSTRUCT_ENV, demo)."""
        root = (root or project_root()).resolve()
        return cls(root, Config(root, environment or os.environ.get("WEBINSTRUCT_ENV", "demo")))

    @property
    def config(self) -> Environment:
        """The active environment."""
        return self.files.environment

    @property
    def lake(self) -> Lake:
        """Where partitions are."""
        return Lake(self.root / self.config.lake)

    def path(self, relative: Path) -> Path:
        """A configured path, relative ones below the root."""
        return self.root / relative

    def crawl_root(self, snapshot: str) -> str:
        """Bucket root of a snapshot: a local folder for ``local-*``, the configured source otherwise."""
        return (
            str(self.path(self.config.crawl.local_root)) if snapshot.startswith("local-") else self.config.crawl.source
        )

    # -- links between snapshots -------------------------------------------------------------------------

    def _link_file(self, snapshot: str) -> Path:
        return self.lake.root / "_links" / f"{check_snapshot(snapshot)}.json"

    def set_reference(self, snapshot: str, reference: str) -> None:
        """Records that ``snapshot`` takes its recall model from ``reference``, for every later run on it."""
        if check_snapshot(reference) == snapshot:
            raise ConfigError(
                f"snapshot {snapshot} cannot reuse its own model",
                "name another snapshot, or leave the option out",
            )
        path = self._link_file(snapshot)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"model_from": reference}).encode())

    def reference_for(self, snapshot: str) -> str | None:
        """Snapshot whose recall model ``snapshot`` reuses; None when it trains its own."""
        try:
            return check_snapshot(json.loads(self._link_file(snapshot).read_text())["model_from"])
        except FileNotFoundError:
            recall = self.config.recall
        if recall.train == "own" or recall.reference_snapshot in (None, snapshot):
            return None
        return recall.reference_snapshot

    # -- models ------------------------------------------------------------------------------------------

    def model_spec(self, name: str) -> "ModelSpec":
        """The configured model ``name``. Raises ConfigError naming the known ones."""
        from webinstruct_assets.core.llm.models import ModelSpec

        if name not in self.config.models:
            raise ConfigError(
                f"model {name!r} is not configured in environment {self.config.environment!r}",
                f"add it under `models:` in config/environments/{self.config.environment}.yaml (known: {', '.join(self.config.models)})",
            )
        model = self.config.models[name]
        return ModelSpec(
            name=name,
            source=model.source,
            revision=model.revision,
            base_url=model.base_url,
            api_key_env=model.api_key_env,
            max_model_len=model.max_model_len,
            served_name=model.served_name,
            vllm_args=tuple(model.vllm_args),
            tokenizer=self.path(model.tokenizer) if model.tokenizer else None,
        )

    def model_identity(self, name: str) -> str:
        """What provenance records of a model: source with revision or digest."""
        from webinstruct_assets.core.llm.models import model_identity

        return model_identity(self.model_spec(name), self.path(self.config.models_dir))

    def model_dir(self, name: str, log: Callable[[str], None]) -> Path:
        """Local checkpoint of a configured model, made or fetched when it is not there. Raises MissingModel."""
        from webinstruct_assets.core.llm.models import resolve_model

        return resolve_model(self.model_spec(name), self.path(self.config.models_dir), log)

    def token_counts(self, name: str, log: Callable[[str], None]) -> "TokenCounts":
        """Tokens of texts as a configured model counts them. Raises MissingModel."""
        from webinstruct_assets.core.llm.tokens import token_counts

        return token_counts(self.model_spec(name), self.path(self.config.models_dir), log)

    def tokenizer_identity(self, name: str) -> str:
        """What provenance records of a tokenizer that is not part of the model's identity; "" for one that is."""
        from webinstruct_assets.core.llm.tokens import tokenizer_identity

        return tokenizer_identity(self.model_spec(name), self.path(self.config.models_dir))

    @contextmanager
    def llm(self, name: str, log: Callable[[str], None]) -> Iterator["LlmClient"]:
        """A client of a configured model, on its endpoint or on a local server, leased when it is first needed."""
        spec, identity = self.model_spec(name), self.model_identity(name)
        if spec.base_url:
            key = os.environ.get(spec.api_key_env) if spec.api_key_env else None
            yield self._client((spec.base_url, spec.served_name or name), identity, name, key)
            return
        with ExitStack() as stack:
            yield self._client(
                lambda: self._lease(stack, self.model_dir(name, log), name, log, like=name), identity, name, None
            )

    @contextmanager
    def serve(
        self, directory: Path, name: str, identity: str, log: Callable[[str], None], *, like: str
    ) -> Iterator["LlmClient"]:
        """A client of any local checkpoint, served with the settings of the configured model ``like``."""
        with ExitStack() as stack:
            yield self._client(lambda: self._lease(stack, directory, name, log, like=like), identity, like, None)

    def _lease(
        self, stack: ExitStack, directory: Path, name: str, log: Callable[[str], None], *, like: str
    ) -> tuple[str, str]:
        from webinstruct_assets.core.llm.server import lease_server

        spec = self.model_spec(like)
        endpoint = stack.enter_context(
            lease_server(
                directory,
                name=name,
                state_dir=self.root / "data/llm/servers",
                max_model_len=spec.max_model_len,
                vllm_args=spec.vllm_args,
                log=log,
            )
        )
        return endpoint.base_url, endpoint.model

    def ledger(self) -> "Ledger":
        """Answers already paid for, of all models."""
        from webinstruct_assets.core.llm.ledger import Ledger

        return Ledger(self.root / "data/llm/ledger.sqlite")

    def _client(
        self, endpoint: tuple[str, str] | Callable[[], tuple[str, str]], identity: str, name: str, key: str | None
    ) -> "LlmClient":
        from webinstruct_assets.core.llm.client import LlmClient

        concurrency = self.config.models[name].concurrency
        client = LlmClient(endpoint, identity, self.ledger(), api_key=key, concurrency=concurrency)
        self.llm_usage.append(client.usage)
        return client
