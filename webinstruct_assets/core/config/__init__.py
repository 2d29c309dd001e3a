"""Configuration: one environment file, and one file per extractor, refiner, recipe, dataset and benchmark.

    config/environments/<name>.yaml     what this installation runs on and with (WEBINSTRUCT_ENV, default demo); may
                                        inherit from another
    config/extractors/<name>.yaml       what differs from the environment's `extraction` in this profile
    config/refiners/<name>.yaml         a model with its prompt and decoding
    config/recipes/<name>.yaml          a training run: data, base model, loss, schedule; may inherit from another
    config/datasets/<name>.yaml         a public instruction set that recipes may train on
    config/benchmarks/<name>.yaml       an evaluation set and its task

Every file is validated when it is loaded; errors name file and field. Which fields bear on a partition's
identity is decided by each stage's ``settings``, not here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config.benchmarks import (
    JUDGED,
    AnswersConfig,
    BenchmarkConfig,
    BenchmarkFields,
    FileConfig,
)
from webinstruct_assets.core.config.crawl import CrawlConfig, SeedsConfig
from webinstruct_assets.core.config.environment import Environment
from webinstruct_assets.core.config.inherit import inherited
from webinstruct_assets.core.config.operation import AutomationConfig, BackfillConfig, CostConfig, ResultsConfig
from webinstruct_assets.core.config.pairs import (
    DecontaminationConfig,
    DuplicatesConfig,
    ExtractionConfig,
    PagesConfig,
    RefinerConfig,
    ReleaseConfig,
    ReviewConfig,
    VerificationConfig,
)
from webinstruct_assets.core.config.recall import FastTextConfig, RecallConfig, ThresholdConfig
from webinstruct_assets.core.config.recipes import (
    ConversationFields,
    DatasetConfig,
    FilterConfig,
    LoraConfig,
    PairFields,
    RecipeConfig,
)
from webinstruct_assets.core.config.resources import EngineConfig, ModelConfig, S3Config, TrainerConfig
from webinstruct_assets.core.config.section import Section, SectionType, load_yaml, read_yaml, settings_of, validate
from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.keys import check_name, profile_of

__all__ = [
    "JUDGED",
    "AnswersConfig",
    "AutomationConfig",
    "BackfillConfig",
    "BenchmarkConfig",
    "BenchmarkFields",
    "Config",
    "ConversationFields",
    "CostConfig",
    "CrawlConfig",
    "DatasetConfig",
    "DecontaminationConfig",
    "DuplicatesConfig",
    "EngineConfig",
    "Environment",
    "ExtractionConfig",
    "FastTextConfig",
    "FileConfig",
    "FilterConfig",
    "LoraConfig",
    "ModelConfig",
    "PagesConfig",
    "PairFields",
    "RecallConfig",
    "RecipeConfig",
    "RefinerConfig",
    "ReleaseConfig",
    "ResultsConfig",
    "ReviewConfig",
    "S3Config",
    "Section",
    "SeedsConfig",
    "ThresholdConfig",
    "TrainerConfig",
    "VerificationConfig",
    "load_yaml",
    "read_yaml",
    "settings_of",
    "validate",
]


class Config:
    """All configuration below one project root."""

    def __init__(self, root: Path, environment: str):
        self.root = root
        self.folder = root / "config"
        self.environment = self._environment(environment)
        self.refiners = self._named("refiner", RefinerConfig)
        self.recipes = self._recipes()
        self.datasets = self._named("dataset", DatasetConfig)
        self.benchmarks = self._named("benchmark", BenchmarkConfig)
        self.extractors = self._extractors()
        self._check_references(self.folder / "environments" / f"{environment}.yaml")

    def _paths(self, kind: str) -> dict[str, Path]:
        return {check_name(kind, path.stem): path for path in sorted((self.folder / f"{kind}s").glob("*.yaml"))}

    def _named(self, kind: str, model: type[SectionType]) -> dict[str, SectionType]:
        return {name: load_yaml(path, model) for name, path in self._paths(kind).items()}

    def _environment(self, name: str) -> Environment:
        folder = self.folder / "environments"
        names = sorted(path.stem for path in folder.glob("*.yaml"))
        content, origins = inherited(name, names, lambda other: read_yaml(folder / f"{other}.yaml"), folder)
        return validate(folder / f"{name}.yaml", content, Environment, origins)

    def _recipes(self) -> dict[str, RecipeConfig]:
        paths = self._paths("recipe")
        files = {name: read_yaml(path) for name, path in paths.items()}
        recipes = {}
        for name, path in paths.items():
            content, origins = inherited(name, files, files.__getitem__, path.parent)
            recipes[name] = validate(path, content, RecipeConfig, origins)
        return recipes

    def _extractors(self) -> dict[str, ExtractionConfig]:
        """Profile -> the environment's extraction with what the profile's file sets in its place."""
        settings = settings_of(self.environment.extraction)
        profiles = {}
        for name, path in self._paths("extractor").items():
            own = read_yaml(path)
            content = {**settings, **own} if isinstance(own, Mapping) else own
            profiles[name] = validate(path, content, ExtractionConfig)
        return profiles

    def _check_references(self, path: Path) -> None:
        known: dict[str, Mapping[str, Any]] = {
            "refiners": self.refiners, "recipes": self.recipes, "datasets": self.datasets, "benchmarks": self.benchmarks,
        }  # fmt: skip
        for kind, files in known.items():
            _known(path, kind, getattr(self.environment, kind), files)
        for snapshot in self.environment.snapshots:
            _known(path, "snapshots", [profile] if (profile := profile_of(snapshot)) else [], self.extractors)
        for name in self.environment.benchmarks:
            judge = self.benchmarks[name].judge
            if judge and judge not in self.environment.models:
                raise ConfigError(
                    f"config/benchmarks/{name}.yaml: field 'judge': {path} has no model {judge!r}",
                    f"add it under `models:` there, or use one of: {', '.join(self.environment.models)}",
                )
        for name, recipe in self.recipes.items():
            here = self.folder / f"recipes/{name}.yaml"
            _known(here, "continues", [recipe.continues] if recipe.continues else [], self.recipes)
            _known(here, "refiners", recipe.refiners, self.refiners)
            _known(here, "datasets", recipe.datasets, self.datasets)
            _known(here, "extraction", [recipe.extraction] if recipe.extraction else [], self.extractors)


def _known(path: Path, field: str, names: list[str], files: Mapping[str, Any]) -> None:
    for name in names:
        if name not in files:
            raise ConfigError(f"{path}: field {field!r}: {name!r} has no file", f"use one of: {', '.join(files)}")
