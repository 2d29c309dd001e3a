"""Training runs and the public sets that they may take."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from webinstruct_assets.core.config.section import Section
from webinstruct_assets.core.keys import PROFILE, check_plain_snapshot


class FilterConfig(Section):
    """Which rows a recipe takes; empty lists mean all. Labels are those of refined pairs; public sets have none."""

    subjects: list[str] = []
    source_types: list[str] = []
    min_answer_words: int = Field(0, ge=0)
    max_rows: int | None = Field(None, ge=1)


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021) instead of all weights; the checkpoint holds the merged weights.

    ``target_modules``: names of the adapted modules, or ``all-linear``: every linear layer but the output's.
    """

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: list[str] | Literal["all-linear"] = "all-linear"


class RecipeConfig(Section):
    """A training run. ``steps: 0`` is the base model itself. ``loss``: response tokens only, or all tokens.

    ``rows``: what is taken of the snapshots: ``refined`` pairs (of all ``refiners``, or those listed), ``extracted``
    pairs without duplicates, or recalled ``pages`` as documents. ``extraction``: a profile of config/extractors with
    which pairs are extracted, in place of the environment's settings. ``datasets``: public sets, taken besides.

    ``global_batch``: sequences per step over all processes, whatever their number; where it is given,
    ``gradient_accumulation`` follows from it. ``family``: the recipes that stand in one table of the report, such as
    ``scaling``; without one, the main table.
    """

    description: str
    family: str | None = None
    base_model: str
    continues: str | None = None
    snapshots: list[str] = []
    rows: Literal["pages", "extracted", "refined"] = "refined"
    extraction: str | None = None
    refiners: list[str] = []
    datasets: list[str] = []
    filters: FilterConfig = FilterConfig()
    loss: Literal["response", "all"] = "response"
    steps: int | None = Field(None, ge=0)
    epochs: float = Field(2.0, gt=0)
    learning_rate: float = Field(5e-6, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    per_device_batch: int = Field(1, ge=1)
    gradient_accumulation: int = Field(1, ge=1)
    global_batch: int | None = Field(None, ge=1)
    max_length: int = Field(4096, ge=32)
    packing: bool = False
    lora: LoraConfig | None = None
    seed: int = 0

    @property
    def sources(self) -> list[str]:
        """Keys of the snapshots as they are trained on, each once: with the recipe's extraction profile."""
        profile = f"{PROFILE}{self.extraction}" if self.extraction else ""
        return sorted({f"{snapshot}{profile}" for snapshot in self.snapshots})

    @field_validator("snapshots")
    @classmethod
    def _snapshots(cls, value: list[str]) -> list[str]:
        return [check_plain_snapshot(key) for key in value]

    @model_validator(mode="after")
    def _fitting(self) -> "RecipeConfig":
        if self.rows != "refined" and (self.filters.subjects or self.filters.source_types):
            raise ValueError(
                "`filters.subjects` and `filters.source_types` need `rows: refined`: others have no labels"
            )
        alone = not (self.datasets or self.extraction or self.filters.min_answer_words)
        if self.rows == "pages" and not (alone and self.loss == "all"):
            raise ValueError(
                "`rows: pages` are documents: `loss: all`, no `datasets`, `extraction` or `filters.min_answer_words`"
            )
        return self


class ConversationFields(Section):
    """Fields of a row that is a conversation: ``turns`` holds objects with a ``role`` and a ``content``."""

    turns: str
    role: str = "role"
    content: str = "content"
    roles: dict[str, Literal["system", "user", "assistant"]] = {
        "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    }  # fmt: skip


class PairFields(Section):
    """Fields of a row that is a question with its answer."""

    question: str
    answer: str


class DatasetConfig(Section):
    """A public instruction set (paper §2.5), a row of which is a ``conversation`` or a ``pair``.

    ``source``: ``path:FILE`` (JSON lines, gzipped or not, or Parquet) or ``hub:ORG/NAME`` at ``revision``, a commit.
    """

    description: str
    source: str = Field(pattern=r"^(path:.+|hub:[^/]+/[^/]+)$")
    revision: str | None = None
    split: str = "train"
    conversation: ConversationFields | None = None
    pair: PairFields | None = None

    @model_validator(mode="after")
    def _complete(self) -> "DatasetConfig":
        if (self.conversation is None) == (self.pair is None):
            raise ValueError("give exactly one of `conversation` and `pair`")
        if self.source.startswith("hub:") != (self.revision is not None):
            raise ValueError("a `hub:` source needs a `revision`, and only such a source has one")
        return self
