"""Stages of the rounds after the second, which an environment asks for with ``recall.rounds``."""

from functools import cache

from webinstruct_assets.core.stage import Stage
from webinstruct_assets.stages.recall.domains import domains_stage
from webinstruct_assets.stages.recall.labelled import labelled_stage
from webinstruct_assets.stages.recall.model import model_stage
from webinstruct_assets.stages.recall.scan import scan_stage


@cache
def later_stages(rounds: int) -> tuple[tuple[Stage, Stage, Stage, Stage], ...]:
    """Training pages, model, recall and domains of each round from the third to round ``rounds``."""
    return tuple(
        (labelled_stage(number), model_stage(number), scan_stage(number), domains_stage(number))
        for number in range(3, rounds + 1)
    )
