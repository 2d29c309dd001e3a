"""What was measured: every published partition of ``benchmark_scores`` with the recipe and the data behind it.

In: manifests and recipe files. Out: ``Score`` and ``Model`` records; the one place that knows the names of metrics.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import Lake
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.results.published import MAIN, REASONING
from webinstruct_assets.stages.sft.recipes import base_recipe, is_base, root_recipe

Grader = Literal["corrected", "paper"]
GRADERS: tuple[Grader, ...] = ("corrected", "paper")
LOSSES = {"response": "SFT loss", "all": "LM loss"}  # the paper's names, §5.1


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval, as a share or a difference of shares."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Shown:
    """A score with its 95 % interval as it is printed: per cent right, or what a judged benchmark's protocol publishes."""

    value: float
    low: float
    high: float
    unit: str = "per cent right"

    @property
    def best(self) -> int:
        """The highest there is."""
        return 10 if self.unit == "rating" else 100

    @property
    def interval(self) -> str:
        """The interval."""
        return f"{self.text(self.low)}–{self.text(self.high)}"

    def text(self, value: float | None = None) -> str:
        """The value, or another in its unit: a rating with two decimals, a rate with one."""
        return f"{self.value if value is None else value:.{2 if self.best == 10 else 1}f}"


@dataclass(frozen=True)
class Model:
    """A recipe, as far as tables need it.

    ``base``: the zero-step recipe that it is compared with. ``trained_on``: kind of rows and loss, a line of the scaling
    curves.
    """

    recipe: str
    family: str
    description: str
    base_model: str
    base: str | None
    is_base: bool
    trained_on: str


@dataclass(frozen=True)
class Training:
    """Manifests of a checkpoint and of its training set."""

    checkpoint: Manifest
    dataset: Manifest


@dataclass(frozen=True)
class Score:
    """One partition of ``benchmark_scores``. ``trainings``: that made its checkpoint, one for each recipe in the chain of
    ``continues``, oldest first, none for a base model; None where one of them was made anew since.
    """

    benchmark: str
    model: Model
    manifest: Manifest
    trainings: tuple[Training, ...] | None

    @property
    def recipe(self) -> str:
        """The recipe that was evaluated."""
        return self.model.recipe

    @property
    def items(self) -> int:
        """Items that were asked."""
        return int(self.manifest.metrics["items"])

    @property
    def clean_items(self) -> int:
        """Items without contaminated ones."""
        return int(self.manifest.metrics["without_contaminated"]["items"])

    @property
    def is_whole(self) -> bool:
        """Whether all of the benchmark's items were asked."""
        return self.items == self.manifest.metrics["items_in_benchmark"]

    @property
    def shots(self) -> int:
        """Demonstrations in a prompt."""
        return int(self.manifest.metrics["shots"])

    @cached_property
    def protocol(self) -> str:
        """Digest of how it was asked and graded, and of the items; not of what was asked."""
        how = {
            name: value
            for name, value in self.manifest.config.items()
            if name not in ("decontaminated_qa", "contamination_known")
        }
        items = [item.data_version for item in self.manifest.inputs if item.asset == "benchmark_items"]
        return digest_json([self.manifest.code_version, how, items])[:12]

    @cached_property
    def data(self) -> str:
        """Digest of what the training sets were taken from and how: the same for recipes that train on the same rows."""
        sets = [training.dataset for training in self.trainings or ()]
        return digest_json([[one.config, [[item.asset, item.data_version] for item in one.inputs]] for one in sets])[
            :12
        ]

    @cached_property
    def training(self) -> str:
        """Digest of the trainings' settings."""
        return digest_json([training.checkpoint.config for training in self.trainings or ()])[:12]

    @property
    def data_version(self) -> str | None:
        """Of the training set, those of a chain joined by ``+``; "" for a base model, None where it is not known any more."""
        if self.trainings is None:
            return None
        return "+".join(training.dataset.data_version[:12] for training in self.trainings)

    @property
    def rows(self) -> int | None:
        """Rows of its own training set; None for a base model, and where it is not known any more."""
        return self.trainings[-1].dataset.rows if self.trainings else None

    @property
    def judge(self) -> str | None:
        """Name of the model that judged, as its endpoint knows it; None where a grader did."""
        found = self.manifest.metrics.get("judge")
        return str(found).rpartition("#")[2] if found else None

    def shown(self, grader: Grader) -> Shown | None:
        """The score as it is printed; None of no items."""
        if found := self.manifest.metrics.get("reported"):
            return Shown(found["value"], found["low"], found["high"], found["name"].replace("_", " "))
        share = self.share(grader)
        return Shown(100 * share.value, 100 * share.low, 100 * share.high) if share else None

    def share(self, grader: Grader, *, clean: bool = False) -> Measured | None:
        """Share of right answers; None of no items."""
        found = self._metrics(clean)
        found = found if grader == "corrected" else found["paper"]
        return None if found["accuracy"] is None else Measured(found["accuracy"], found["ci_low"], found["ci_high"])

    def delta(self, grader: Grader, *, clean: bool = False) -> Measured | None:
        """Difference from the base model on the same items; None where that was not evaluated."""
        found, prefix = self._metrics(clean), "" if grader == "corrected" else "paper_"
        if f"{prefix}delta" not in found:
            return None
        return Measured(*(found[f"{prefix}{name}"] for name in ("delta", "delta_low", "delta_high")))

    def _metrics(self, clean: bool) -> Mapping[str, Any]:
        metrics = self.manifest.metrics
        found: Mapping[str, Any] = metrics["without_contaminated"] if clean else metrics
        return found


@dataclass(frozen=True)
class Results:
    """All scores, and every recipe that is configured or was evaluated, in the order of tables."""

    scores: tuple[Score, ...]
    models: tuple[Model, ...]
    active: frozenset[str]
    benchmarks: tuple[str, ...]

    @cached_property
    def by_cell(self) -> dict[tuple[str, str], Score]:
        """(recipe, benchmark) -> score."""
        return {(score.recipe, score.benchmark): score for score in self.scores}

    @cached_property
    def evaluated(self) -> frozenset[str]:
        """Recipes with any score."""
        return frozenset(score.recipe for score in self.scores)

    def groups(self, family: str) -> list[list[Model]]:
        """The family's models by base model, each group led by the base model itself.

        A group is there when one of it was evaluated, and then whole: members without a score are part of the picture.
        Of the main table, which is no experiment with a fixed list, only what was evaluated or is active.
        """
        found: dict[str, list[Model]] = {}
        for model in self.models:
            if model.is_base or model.family == family:
                found.setdefault(model.base_model, []).append(model)
        groups = []
        for members in found.values():
            of_family = [model for model in members if model.family == family and not model.is_base]
            if family == MAIN:
                of_family = [model for model in members if model.recipe in self.evaluated | self.active]
                bases = {model.base for model in of_family}  # theirs, listed by the environment or not
                members = [model for model in members if model in of_family or model.recipe in bases]
            if any(model.recipe in self.evaluated for model in of_family):
                groups.append(sorted(members, key=lambda model: not model.is_base))
        return groups

    @cached_property
    def without_delta(self) -> list[Score]:
        """Scores that have no base model beside them, though they are none themselves."""
        return [score for score in self.scores if not score.model.is_base and score.delta("corrected") is None]

    def families(self) -> list[str]:
        """Families with a table, the main one first."""
        names = {model.family for model in self.models}
        return [name for name in sorted(names, key=lambda name: (name != MAIN, name)) if self.groups(name)]

    def columns(self, family: str) -> list[str]:
        """Benchmarks that any of the family was evaluated on; of the main one, also those that the environment lists."""
        names = {model.recipe for group in self.groups(family) for model in group if family in (model.family, MAIN)}
        found = {score.benchmark for score in self.scores if score.recipe in names}
        return sorted(found | set(self.benchmarks if family == MAIN else ()), key=benchmark_order)


def benchmark_order(name: str) -> tuple[int, str]:
    """The paper's seven in its order, then the others by name."""
    return (REASONING.index(name) if name in REASONING else len(REASONING), name)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts 2m before 10m."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def results(ws: Workspace, manifests: Sequence[Manifest]) -> Results:
    """``manifests`` of ``benchmark_scores``, with recipes in the environment's order, then by name."""
    evaluated = {manifest.keys["recipe"]: manifest for manifest in manifests}
    order = [*ws.config.recipes, *sorted({*ws.files.recipes, *evaluated}, key=_natural)]
    models = {name: _model(ws, name, evaluated.get(name)) for name in dict.fromkeys(order)}
    scores = [
        Score(manifest.keys["benchmark"], models[manifest.keys["recipe"]], manifest, _trainings(ws.lake, manifest))
        for manifest in sorted(manifests, key=lambda item: (item.keys["benchmark"], item.keys["recipe"]))
    ]
    return Results(
        tuple(scores), tuple(models.values()), frozenset(ws.config.recipes), tuple(sorted(set(ws.config.benchmarks)))
    )


def _model(ws: Workspace, name: str, score: Manifest | None) -> Model:
    recipe = ws.files.recipes.get(name)
    if recipe is None:  # evaluated, and its file was deleted since
        base = score.metrics.get("base_recipe") if score else None
        return Model(name, MAIN, "(its recipe file is gone)", "?", base, base is None, "?")
    return Model(
        name, recipe.family or MAIN, recipe.description, root_recipe(ws, name).base_model, base_recipe(ws, name),
        is_base(recipe), f"{recipe.rows}, {LOSSES[recipe.loss]}",
    )  # fmt: skip


def _trainings(lake: Lake, above: Manifest) -> tuple[Training, ...] | None:
    """The trainings that ``above`` (a score, or a checkpoint that continues another) builds on."""
    if not any(item.asset == "trained_checkpoint" for item in above.inputs):
        return ()
    checkpoint = _pinned(lake, above, "trained_checkpoint")
    dataset = _pinned(lake, checkpoint, "sft_dataset") if checkpoint else None
    earlier = _trainings(lake, checkpoint) if checkpoint else None
    if checkpoint is None or dataset is None or earlier is None:
        return None
    return earlier if checkpoint.config.get("steps") == 0 else (*earlier, Training(checkpoint, dataset))


def _pinned(lake: Lake, manifest: Manifest, asset: str) -> Manifest | None:
    """The manifest's input from ``asset``; None where it was made anew with other data since."""
    item = next(item for item in manifest.inputs if item.asset == asset)
    parent = lake.manifest(Ref(asset, PartitionKey.parse(("recipe",), item.partition)))
    return parent if parent and parent.data_version == item.data_version else None
