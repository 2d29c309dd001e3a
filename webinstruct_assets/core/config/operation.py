"""Running it: prices, what starts by itself, the report of results."""

from pathlib import Path

from pydantic import Field, field_validator

from webinstruct_assets.core.config.section import Section
from webinstruct_assets.core.keys import CRAWL_PATTERN


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
        if value is not None and not CRAWL_PATTERN.fullmatch(value):
            raise ValueError("name a snapshot of Common Crawl, CC-MAIN-YYYY-WW: others have no age")
        return value


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


class ResultsConfig(Section):
    """The report of results. ``dagster_url``: of the UI that its links into lineage lead to.

    ``paper``: the paper's own numbers; ``models``: published scores of other models.
    """

    dagster_url: str = Field("http://127.0.0.1:3000", pattern=r"^https?://[^\s\"'<>]+$")
    paper: Path = Path("config/published/paper.yaml")
    models: Path = Path("config/published/models.yaml")
