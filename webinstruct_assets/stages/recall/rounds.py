"""The rounds of recall: names of each, which partitions stand in for others, when to stop.

Rounds 1 and 2 have modules of their own (Dagster and the reader see them by name); ``later_stages`` makes the others.
"""

from collections.abc import Callable
from dataclasses import dataclass

from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import from_reference
from webinstruct_assets.core.workspace import Workspace


@dataclass(frozen=True)
class Round:
    """Asset names of round ``number``."""

    number: int

    @property
    def labelled(self) -> str:
        """Its training pages."""
        return "seed_set" if self.number == 1 else f"round{self.number}_seed_set"

    @property
    def model(self) -> str:
        """Its model."""
        return "fasttext_model" if self.number == 1 else f"round{self.number}_model"

    @property
    def recall(self) -> str:
        """The pages that its model finds."""
        return f"round{self.number}_recall"

    @property
    def domains(self) -> str:
        """Their domains, judged."""
        return f"round{self.number}_domains"

    @property
    def before(self) -> "Round | None":
        """The round before; None for the first."""
        return Round(self.number - 1) if self.number > 1 else None


def last_round(ws: Workspace) -> Round:
    """The round whose pages go on to ``recalled_urls``."""
    return Round(ws.config.recall.rounds)


def stopped_at(ws: Workspace, key: PartitionKey, number: int) -> int | None:
    """The round before ``number`` after which nothing was left to collect; None where there is none.

    DeepSeekMath (§2.1) stopped when 98 % of a round's pages had been collected by the round before.
    """
    for earlier in range(2, number):
        manifest = ws.lake.manifest(Ref(Round(earlier).domains, key))
        share = manifest.metrics.get("already_collected") if manifest else None
        if share is not None and share >= ws.config.recall.stop_share:
            return earlier
    return None


def training_reuse(kind: str, number: int) -> Callable[[Workspace, PartitionKey], Ref | None]:
    """``Stage.reuses`` of a round's training pages or model (``kind``: an attribute of Round).

    All come from the reference snapshot where the snapshot has one; after the stop rule, from the last round run.
    """
    borrowed = from_reference(getattr(Round(number), kind))

    def find(ws: Workspace, key: PartitionKey) -> Ref | None:
        return borrowed(ws, key) or _stand_in(ws, key, kind, number)

    return find


def scan_reuse(kind: str, number: int) -> Callable[[Workspace, PartitionKey], Ref | None]:
    """The same of a round's recalled pages or domains: with a borrowed model, only the last round is run.

    Earlier rounds only serve to train the last model, and there is nothing to train.
    """
    borrowed = from_reference(getattr(Round(number), kind))

    def find(ws: Workspace, key: PartitionKey) -> Ref | None:
        reference = borrowed(ws, key)
        if reference:
            return reference if number < ws.config.recall.rounds else None
        return _stand_in(ws, key, kind, number)

    return find


def _stand_in(ws: Workspace, key: PartitionKey, kind: str, number: int) -> Ref | None:
    stopped = stopped_at(ws, key, number)
    return Ref(getattr(Round(stopped), kind), key) if stopped else None
