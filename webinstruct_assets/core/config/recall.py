"""The recall rounds: classifier, thresholds, domains."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from webinstruct_assets.core.config.section import Section
from webinstruct_assets.core.keys import check_plain_snapshot


class FastTextConfig(Section):
    """fastText hyper-parameters; the defaults are the paper's (§2.1), meant for ≥50K seed pages."""

    dim: int = Field(256, ge=2)
    epochs: int = Field(3, ge=1)
    lr: float = Field(0.1, gt=0)
    word_ngrams: int = Field(3, ge=1)
    min_count: int = Field(3, ge=1)
    buckets: int = Field(2_000_000, ge=1)
    seed: int = 0


class ThresholdConfig(Section):
    """How a round's score threshold is set: by exactly one of these.

    ``precision``: the lowest score whose precision on held-out pages reaches it. ``percentile``: the score that
    this percentage of the crawl's pages stays below (DCLM keeps what is above the 90th), over
    ``recall.percentile_files`` WET files. ``score``: a fixed score. A model that cannot reach ``precision``, or
    has less than ``min_precision`` at the threshold that the other two set, stops the run.
    """

    precision: float | None = Field(None, gt=0, le=1)
    percentile: float | None = Field(None, gt=0, lt=100)
    score: float | None = Field(None, gt=0, lt=1)
    min_precision: float = Field(0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _exactly_one(self) -> "ThresholdConfig":
        if sum(value is not None for value in (self.precision, self.percentile, self.score)) != 1:
            raise ValueError("give exactly one of precision, percentile and score")
        return self


class RecallConfig(Section):
    """The recall rounds: two in the paper, more with ``rounds``.

    ``round2_threshold`` holds for later rounds too. ``min_auc``: a model that separates held-out pages worse stops
    the run. Domains with fewer than ``min_domain_pages`` recalled pages or a recall rate below ``min_recall_rate``
    are dropped, those from ``sure_recall_rate`` up are selected, an LLM labels the rest, ``domains_per_request`` at
    a time: ``judge_model``, from the second round on ``round2_judge_model`` where given. Rounds after one of whose
    pages ``stop_share`` had been collected by the round before are not run (DeepSeekMath).
    """

    fasttext: FastTextConfig = FastTextConfig()
    train: Literal["own", "reference"] = "own"
    reference_snapshot: str | None = None
    rounds: int = Field(2, ge=2, le=5)
    stop_share: float = Field(0.98, gt=0, le=1)
    round1_threshold: ThresholdConfig = ThresholdConfig(precision=0.9)
    round2_threshold: ThresholdConfig = ThresholdConfig(precision=0.9)
    percentile_files: int = Field(4, ge=1)
    min_auc: float = Field(0.8, ge=0.5, le=1)
    min_domain_pages: int = Field(1000, ge=1)
    min_recall_rate: float = Field(0.1, ge=0, le=1)
    sure_recall_rate: float = Field(0.8, ge=0, le=1)
    judge_model: str
    round2_judge_model: str | None = None
    domains_per_request: int = Field(20, ge=1, le=100)
    titles_per_domain: int = Field(5, ge=1)
    paths_per_domain: int = Field(5, ge=0)

    @field_validator("reference_snapshot")
    @classmethod
    def _snapshot(cls, value: str | None) -> str | None:
        return value if value is None else check_plain_snapshot(value)
