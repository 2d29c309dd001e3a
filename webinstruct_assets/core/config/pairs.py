"""From pages to the dataset: cleaning, extraction, decontamination, duplicates, refiners, review, release."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from webinstruct_assets.core.config.section import Section


class PagesConfig(Section):
    """Limits of page cleaning."""

    max_bytes: int = Field(4_000_000, ge=1)
    min_words: int = Field(10, ge=0)


class ExtractionConfig(Section):
    """Pairs from pages: rules over markup and structure first, the LLM for pages that they leave unexplained.

    ``mode``: the LLM points at lines, or retypes pairs as the paper's did (``rewrite``, for comparison).
    ``skip_explained``: pages whose rules' pairs cover every line that asks are not shown to the LLM.
    ``retries``: more tries for a request that failed, was refused or truncated; then it is a reject.
    ``max_llm_pages`` is a budget for small machines: about so many pages are asked for, those without any rule's
    pair first; the others keep what the rules found, or are rejects (``llm_budget``).
    """

    model: str
    max_output_tokens: int = Field(400, ge=16)
    max_page_tokens: int = Field(2000, ge=100)
    rules: bool = True
    llm: bool = True
    mode: Literal["point", "rewrite"] = "point"
    skip_explained: bool = True
    retries: int = Field(2, ge=0)
    max_llm_pages: int | None = Field(None, ge=1)


class DecontaminationConfig(Section):
    """The paper's 10-gram rule (§2.2); strings of ``min_words``..n-1 words need an exact match (DeepSeekMath).

    ``normalisation``: ``tex`` undoes TeX notation, ``plain`` takes commands as words. Grams on at least
    ``common_share`` of the snapshot's pages, and on ``common_min_pages`` of them, are no evidence (null: all are).
    ``paraphrase_ratio`` turns the second tier on: a pair's question whose longest common subsequence with a
    benchmark question has that share of words (FineMath: 0.6).
    """

    n: int = Field(10, ge=3, le=60)
    min_words: int = Field(3, ge=1)
    level: Literal["page", "pair"] = "page"
    normalisation: Literal["tex", "plain"] = "tex"
    common_share: float | None = Field(1e-4, ge=0, le=1)
    common_min_pages: int = Field(100, ge=2)
    paraphrase_ratio: float | None = Field(None, gt=0, le=1)

    @field_validator("min_words")
    @classmethod
    def _shorter_than_n(cls, value: int, info: ValidationInfo) -> int:
        if value >= info.data.get("n", value + 1):
            raise ValueError("must be less than n")
        return value


class DuplicatesConfig(Section):
    """Near-duplicates by MinHash over sequences of ``shingle`` words, ``bands`` of ``rows`` hashes each.

    Candidates count when the Jaccard similarity of question and answer together is ``pair_jaccard``, or that of the
    questions alone ``question_jaccard`` (questions of ``min_question_words`` words or more). Changing a threshold
    below (1/bands)^(1/rows) needs more bands: that is where a candidate is found as often as not.
    """

    shingle: int = Field(3, ge=1, le=10)
    bands: int = Field(24, ge=1)
    rows: int = Field(5, ge=1)
    pair_jaccard: float = Field(0.7, gt=0, le=1)
    question_jaccard: float = Field(0.8, gt=0, le=1)
    min_question_words: int = Field(8, ge=1)


class RefinerConfig(Section):
    """A refiner: an LLM with a prompt file and decoding (paper §2.3 uses two different LLMs).

    ``max_pairs`` is a budget for small machines: a fixed random sample is refined, the others are rejects.
    ``retries``: more tries for a reply that was cut off, refused or no JSON; then the pair is a reject.
    """

    description: str
    model: str
    prompt: str = "refine.yaml"
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_output_tokens: int = Field(1024, ge=16)
    seed: int = 0
    give_context: bool = True
    retries: int = Field(2, ge=0)
    max_pairs: int | None = Field(None, ge=1)


class ReviewConfig(Section):
    """Human review of ``sample`` random refined pairs (paper §5.4: 50), in proportion over ``stratify_by``.

    ``folder`` holds the reviewers' append-only files; ``judge_model`` (none) pre-labels, and never counts as a person.
    """

    sample: int = Field(50, ge=1)
    seed: int = 0
    stratify_by: Literal["refiner", "status", "domain"] | None = None
    judge_model: str | None = None
    folder: Path = Path("data/reviews")


class ReleaseConfig(Section):
    """The merged dataset: the model that labels what rules leave open (the refiners are the environment's).

    ``level_model``: the model that is asked for levels where no rule speaks; without one these are ``unknown``.
    ``merge``: ``pool`` takes every refiner's version of a pair (the paper), ``best`` one of them
    (the rule: ``stages/release/merge.py``).
    """

    subject_model: str
    level_model: str | None = None
    merge: Literal["pool", "best"] = "pool"


class VerificationConfig(Section):
    """Solving each question again: off without a ``model``. ``drop_extremes`` leaves out what every attempt solves."""

    model: str | None = None
    attempts: int = Field(8, ge=2)
    temperature: float = Field(0.7, gt=0)
    max_output_tokens: int = Field(1024, ge=16)
    seed: int = 0
    drop_extremes: bool = True
