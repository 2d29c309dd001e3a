"""The graph without Dagster: all stages in data-flow order, their partitions, what is up to date, and the plan.

Dagster draws lineage; this module answers from manifests, so it is right at any number of partitions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from webinstruct_assets.core.errors import ConfigError, WebInstructError
from webinstruct_assets.core.keys import PartitionKey, Ref, check_name, plain_snapshot, profile_of
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Stage, identify
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.crawl.crawl_index import CRAWL_INDEX
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA
from webinstruct_assets.stages.duplicates.deduplicated_qa import DEDUPLICATED_QA
from webinstruct_assets.stages.evaluation.benchmark_scores import BENCHMARK_SCORES
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.funnel.funnel import FUNNEL
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.recall.fasttext_model import FASTTEXT_MODEL
from webinstruct_assets.stages.recall.later_stages import later_stages
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets.stages.recall.round1_domains import ROUND1_DOMAINS
from webinstruct_assets.stages.recall.round1_recall import ROUND1_RECALL
from webinstruct_assets.stages.recall.round2_domains import ROUND2_DOMAINS
from webinstruct_assets.stages.recall.round2_model import ROUND2_MODEL
from webinstruct_assets.stages.recall.round2_recall import ROUND2_RECALL
from webinstruct_assets.stages.recall.round2_seed_set import ROUND2_SEED_SET
from webinstruct_assets.stages.refinement.refined_qa import REFINED_QA
from webinstruct_assets.stages.release.webinstruct import WEBINSTRUCT
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE
from webinstruct_assets.stages.results.results_report import RESULTS_REPORT
from webinstruct_assets.stages.review.quality_review import QUALITY_REVIEW
from webinstruct_assets.stages.seeds.seed_set import SEED_SET
from webinstruct_assets.stages.sft.public_sets import PUBLIC_SETS
from webinstruct_assets.stages.sft.recipes import chain_of, is_base, recipe_config, root_recipe
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT
from webinstruct_assets.stages.verification.verified_qa import VERIFIED_QA

LATER_ROUNDS = later_stages(Workspace.open().config.recall.rounds)

STAGES: tuple[Stage, ...] = (
    CRAWL_INDEX,
    SEED_SET,
    FASTTEXT_MODEL,
    ROUND1_RECALL,
    ROUND1_DOMAINS,
    ROUND2_SEED_SET,
    ROUND2_MODEL,
    ROUND2_RECALL,
    ROUND2_DOMAINS,
    *(stage for stages in LATER_ROUNDS for stage in stages),
    RECALLED_URLS,
    PAGES,
    EXTRACTED_QA,
    BENCHMARK_ITEMS,
    DECONTAMINATED_QA,
    DEDUPLICATED_QA,
    REFINED_QA,
    QUALITY_REVIEW,
    WEBINSTRUCT,
    VERIFIED_QA,
    WEBINSTRUCT_RELEASE,
    FUNNEL,
    PUBLIC_SETS,
    SFT_DATASET,
    TRAINED_CHECKPOINT,
    BENCHMARK_SCORES,
    RESULTS_REPORT,
)
BY_ASSET: dict[str, Stage] = {stage.asset: stage for stage in STAGES}
BY_PREFIX: dict[str, Stage] = {stage.prefix: stage for stage in STAGES}


def stage_of(asset: str) -> Stage:
    """The stage of an asset. Raises ConfigError listing the known ones."""
    if asset not in BY_ASSET:
        raise ConfigError(f"no asset {asset!r}", f"use one of: {', '.join(BY_ASSET)}")
    return BY_ASSET[asset]


@dataclass(frozen=True)
class Selection:
    """What a run covers: values per dimension (None: all active ones)."""

    snapshot: str | None = None
    refiner: str | None = None
    recipe: str | None = None
    benchmark: str | None = None
    dataset: str | None = None

    def values(self, ws: Workspace, dimension: str) -> list[str]:
        """Chosen values of a dimension, in the environment's order. Raises ConfigError for one that has no file."""
        chosen: str | None = getattr(self, dimension)
        if chosen is None:
            return list(getattr(ws.config, dimension + "s"))
        if dimension == "snapshot":
            ws.under(PartitionKey.of({dimension: chosen}))  # refuses an unknown profile before anything is made
            return [chosen]
        known = getattr(ws.files, dimension + "s")
        if check_name(dimension, chosen) not in known:
            raise ConfigError(
                f"no {dimension} {chosen!r}",
                f"add config/{dimension}s/{chosen}.yaml, or use one of: {', '.join(known)}",
            )
        return [chosen]


def partitions(stage: Stage, ws: Workspace, selection: Selection) -> list[PartitionKey]:
    """Partitions of an asset that a selection covers."""
    values = [selection.values(ws, dimension) for dimension in stage.dimensions]
    return [PartitionKey.of(dict(zip(stage.dimensions, combination, strict=True))) for combination in product(*values)]


def recipes_of(ws: Workspace, snapshot: str) -> list[str]:
    """Active recipes that train on a snapshot or continue one that does, and the zero-step recipes of their base models."""
    training = [
        name
        for name in ws.config.recipes
        if any(snapshot in recipe_config(ws, link).sources for link in chain_of(ws, name))
    ]
    bases = {root_recipe(ws, name).base_model for name in training}
    return [
        name
        for name in ws.config.recipes
        if name in training or (is_base(recipe_config(ws, name)) and recipe_config(ws, name).base_model in bases)
    ]


def targets(ws: Workspace, selection: Selection, assets: Sequence[str]) -> list[Ref]:
    """Partitions of ``assets`` (all assets when empty) that a selection covers, in data-flow order.

    The report is there when it was named, or when scores are that it can show.
    """
    refs: list[Ref] = []
    for stage in (
        STAGES
        if not assets
        else [stage for stage in STAGES if stage.asset in {stage_of(asset).asset for asset in assets}]
    ):
        if stage is RESULTS_REPORT and not assets and not any(ref.asset == BENCHMARK_SCORES.asset for ref in refs):
            continue
        for key in partitions(stage, ws, selection):
            if (
                selection.snapshot
                and not selection.recipe
                and "recipe" in stage.dimensions
                and key["recipe"] not in recipes_of(ws, selection.snapshot)
            ):
                continue
            refs.append(stage.ref(key))
    # Recipe by recipe, in the environment's order: a server that is up for one step is still up for the next. What has no
    # partitions takes what is there by then, so it comes last.
    recipes = list(ws.files.recipes)
    order = {
        name: index
        for index, name in enumerate([*ws.config.recipes, *(name for name in recipes if name not in ws.config.recipes)])
    }
    return sorted(
        refs, key=lambda ref: order.get(ref.key.as_dict().get("recipe", ""), -1) if ref.key.dims else len(order)
    )


def parents(ws: Workspace, ref: Ref) -> Sequence[Ref]:
    """What a partition is made from; for an extraction profile's pages and all above them, the snapshot's own."""
    stage = BY_ASSET[ref.asset]
    stand_in = stage.stand_in(ws, ref.key) if profile_of(ref.key.as_dict().get("snapshot", "")) else None
    return [stand_in] if stand_in else stage.inputs(ws, ref.key)


def closure(ws: Workspace, wanted: Iterable[Ref], snapshot: str | None) -> list[Ref]:
    """``wanted`` and everything above it, inputs first.

    With ``snapshot`` given, partitions of other snapshots are left out: they must exist already. An asset without
    partitions takes whatever is there; nothing is made for it.
    """
    order: dict[Ref, None] = {}
    inside = plain_snapshot(snapshot) if snapshot else None

    def visit(ref: Ref) -> None:
        own = plain_snapshot(ref.key.as_dict().get("snapshot", ""))
        if ref in order or (inside and own and own != inside):
            return
        for parent in parents(ws, ref) if ref.key.dims else ():
            visit(parent)
        order[ref] = None

    for ref in wanted:
        visit(ref)
    return list(order)


def with_funnels(refs: Sequence[Ref]) -> list[Ref]:
    """``refs``, and behind them the funnel of every dataset among them: it costs nothing, and nothing else asks for it."""
    funnels = [FUNNEL.ref(ref.key) for ref in refs if ref.asset == WEBINSTRUCT.asset]
    return [*refs, *(ref for ref in funnels if ref not in refs)]


@dataclass(frozen=True)
class State:
    """A partition's manifest (None: never materialized), and whether a run would change it, and why.

    ``cause``: the partition that the reason is about: this one, or the one far above that all between are stale for.
    """

    ref: Ref
    manifest: Manifest | None
    up_to_date: bool
    reason: str
    cause: Ref


class States:
    """Staleness from manifests: code, settings and inputs, followed all the way up. Remembers what it saw."""

    def __init__(self, ws: Workspace):
        self._ws = ws
        self._seen: dict[Ref, State] = {}

    def forget(self) -> None:
        """Call after something was materialized."""
        self._seen.clear()

    def of(self, ref: Ref) -> State:
        """The state of one partition."""
        if ref not in self._seen:
            self._seen[ref] = self._find(ref)
        return self._seen[ref]

    def _find(self, ref: Ref) -> State:
        stage = BY_ASSET[ref.asset]
        try:
            manifest = self._ws.lake.manifest(ref)
        except WebInstructError as error:
            return State(ref, None, False, f"{error.problem}; {error.fix}", ref)
        if manifest is None:
            return State(ref, None, False, "never materialized", ref)
        try:
            identity = identify(stage, ref.key, self._ws)
        except WebInstructError as error:
            return State(ref, manifest, False, error.problem, ref)
        for parent in identity.inputs:
            state = self.of(parent)
            if not state.up_to_date:
                own = state.cause == parent
                reason = f"{parent} is not up to date: {state.reason}" if own else state.reason
                return State(ref, manifest, False, reason, state.cause)
        if identity.fingerprint == manifest.fingerprint:
            return State(ref, manifest, True, f"reuses {manifest.reuses}" if manifest.reuses else "", ref)
        return State(
            ref,
            manifest,
            False,
            _difference(identity.code_version, identity.config, manifest, identity.inputs),
            ref,
        )


def _difference(code: str, config: dict[str, object], manifest: Manifest, inputs: dict[Ref, Manifest]) -> str:
    if code != manifest.code_version:
        return "its code or prompts changed"
    if config != manifest.config:
        names = sorted(name for name in {*config, *manifest.config} if config.get(name) != manifest.config.get(name))
        return f"its settings changed: {', '.join(names)}"
    recorded = {f"{item.asset}/{item.partition}": item.data_version for item in manifest.inputs}
    changed = [str(ref) for ref, current in inputs.items() if recorded.get(str(ref)) != current.data_version]
    return f"its inputs changed: {', '.join(changed) or 'their list'}"


def known_snapshots(ws: Workspace) -> list[str]:
    """Active snapshots, then others that have anything in the lake."""
    listed = list(ws.config.snapshots)
    found = [name.partition("=")[2] for name in ws.lake.names(CRAWL_INDEX.asset) if name.startswith("snapshot=")]
    return listed + [snapshot for snapshot in found if snapshot not in listed]
