"""One installation as a whole."""

from pathlib import Path

from pydantic import field_validator

from webinstruct_assets.core.config.crawl import CrawlConfig, SeedsConfig
from webinstruct_assets.core.config.operation import AutomationConfig, BackfillConfig, CostConfig, ResultsConfig
from webinstruct_assets.core.config.pairs import (
    DecontaminationConfig,
    DuplicatesConfig,
    ExtractionConfig,
    PagesConfig,
    ReleaseConfig,
    ReviewConfig,
    VerificationConfig,
)
from webinstruct_assets.core.config.recall import RecallConfig
from webinstruct_assets.core.config.resources import EngineConfig, ModelConfig, S3Config, TrainerConfig
from webinstruct_assets.core.config.section import Section
from webinstruct_assets.core.keys import check_snapshot


class Environment(Section):
    """One installation: where things are, which partitions are active, and the settings of every stage."""

    environment: str
    description: str = ""
    lake: str = "data/lake"  # a folder, or s3://BUCKET/PREFIX
    lake_cache: Path = Path("data/lake_cache")  # working copy of a lake on S3
    s3: S3Config = S3Config()
    models_dir: Path = Path("data/models")
    snapshots: list[str]
    refiners: list[str]
    recipes: list[str]
    datasets: list[str] = []
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
    results: ResultsConfig = ResultsConfig()
    trainer: TrainerConfig = TrainerConfig()
    engine: EngineConfig = EngineConfig()

    @field_validator("snapshots")
    @classmethod
    def _snapshots(cls, value: list[str]) -> list[str]:
        return [check_snapshot(key) for key in value]
