"""docs/scale.md says what its measurements give."""

import json
from typing import Any

import pytest

from perf.scale import BEGIN, DOCUMENT, END, ROOT, SNAPSHOT, core_hours, parser, render, tools


def measured() -> dict[str, Any]:
    """A hundred bytes a second; two at once a little slower; the peer ten times."""

    def answers(*cpu: float) -> list[dict[str, Any]]:
        result = {"rows": 2, "rejects": 98, "reject_bytes": 1960}
        return [{"seconds": 2 * seconds, "cpu": seconds, "result": result, "memory": 4e8} for seconds in cpu]

    return {
        "machine": {"date": "2026-01-01", "cpu": "a CPU", "cores": 2, "memory": 2**34},
        "input": {"pages": 100, "text_bytes": 25_000, "file_bytes": 10_000},
        "cases": {"recall": answers(90, 100, 120), "datatrove": answers(1000), "nemo-curator": answers(500)},
        "two_processes": answers(100, 110, 400),
        "files": {"1": {"memory": 4e8}},
    }


def test_core_hours_come_from_cpu_seconds_of_all_cores() -> None:
    own, datatrove, curator = tools(measured())
    assert core_hours(own, SNAPSHOT, measured()) == pytest.approx(SNAPSHOT.wet / 10_000 * 110 / 3600)
    assert core_hours(datatrove, SNAPSHOT, measured()) == pytest.approx(SNAPSHOT.wet / 10_000 * 1000 / 3600)
    assert core_hours(curator, SNAPSHOT, measured()) == pytest.approx(SNAPSHOT.wet / 10_000 * 500 / 3600)


def test_a_row_holds_hours_dollars_and_wall_clock() -> None:
    text = render(measured(), parser().parse_args(["--cores", "10", "--core-hour", "0.5", "--positives", "0.5"]))
    hours = SNAPSHOT.wet / 10_000 * 1000 / 3600
    (row, _) = [line for line in text.splitlines() if line.startswith("| datatrove | ") and "(" not in line]
    assert row.startswith(f"| datatrove | {hours:,.0f} | {hours / 2:,.0f} | {hours / 240:,.0f} d |")
    # 1960 bytes over 98 rejects, for the half that is not wanted.
    assert "| rejects written | 26.9 GB |" in text


def test_document_is_what_its_measurements_give() -> None:
    text = render(json.loads((ROOT / "perf/recall.json").read_text()), parser().parse_args([]))
    _, _, rest = DOCUMENT.read_text().partition(BEGIN)
    assert rest.partition(END)[0].strip() == text, "python -m perf.scale --write"
