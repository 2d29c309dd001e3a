"""Numbers that others published: the paper's own beside ours, and those of other models for the bar charts.

In: two YAML files with sources. Out: a lookup that answers only where the setting is the same.
"""

from dataclasses import dataclass

from webinstruct_assets.core.config import Section, load_yaml
from webinstruct_assets.core.workspace import Workspace

MAIN = "main"  # the family of recipes that name none
AVERAGE = "average"  # in the place of a benchmark: the mean over REASONING
# The columns of the paper's Table 2, in its order.
REASONING = ("theoremqa", "math", "gsm8k", "gpqa-diamond", "mmlu-stem", "bbh", "arc-challenge")
PAPER_NAMES = {
    "theoremqa": "TheoremQA",
    "math": "MATH",
    "gsm8k": "GSM8K",
    "gpqa-diamond": "GPQA",
    "mmlu-stem": "MMLU-STEM",
    "bbh": "BBH",
    "arc-challenge": "ARC-C",
}


class PaperNumbers(Section):
    """One row of one of the paper's tables. ``scores``: per cent (MT-Bench: a rating) by benchmark, or ``average``."""

    family: str
    recipe: str
    source: str
    approximate: bool = False
    scores: dict[str, float]


@dataclass(frozen=True)
class PaperNumber:
    """``value``: per cent. ``approximate``: read off a plot."""

    value: float
    approximate: bool


class Paper(Section):
    """``paper.yaml``. ``shots``: the paper's, by benchmark; ``judges``: that its numbers of judged ones are from."""

    citation: str
    shots: dict[str, int]
    judges: dict[str, str]
    numbers: list[PaperNumbers]

    def number(self, family: str, recipe: str, benchmark: str) -> PaperNumber | None:
        """What the paper prints for a recipe in the table of ``family``, or where it prints none there in the main one."""
        for row in sorted(self.numbers, key=lambda row: row.family != family):
            if row.family in (family, MAIN) and row.recipe == recipe and benchmark in row.scores:
                return PaperNumber(row.scores[benchmark], row.approximate)
        return None


class PublishedModel(Section):
    """Another model's scores, per cent by benchmark."""

    model: str
    source: str
    in_charts: bool = True
    scores: dict[str, float]


class PublishedModels(Section):
    """``models.yaml``."""

    models: list[PublishedModel]


def paper(ws: Workspace) -> Paper:
    """The paper's numbers. Raises ConfigError naming file and field."""
    return load_yaml(ws.path(ws.config.results.paper), Paper)


def other_models(ws: Workspace) -> list[PublishedModel]:
    """Published scores of other models. Raises ConfigError naming file and field."""
    return load_yaml(ws.path(ws.config.results.models), PublishedModels).models
