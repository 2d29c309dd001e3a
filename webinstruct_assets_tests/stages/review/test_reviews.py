"""Reviewers' files, agreement, and the sample."""

from pathlib import Path

import polars as pl
import pytest

from webinstruct_assets.core.errors import BadInput, BadKey
from webinstruct_assets.stages.review import reviews
from webinstruct_assets.stages.review.agreement import consensus, kappa
from webinstruct_assets.stages.review.reviews import Review
from webinstruct_assets.stages.review.sample import draw


def verdict(pair: str, category: str, reviewer: str = "ada") -> Review:
    return Review.model_validate(
        {"pair": pair, "content": "c", "category": category, "reviewer": reviewer, "at": reviews.now()}
    )


def test_files_only_grow_and_the_last_line_counts(tmp_path: Path) -> None:
    reviews.append(tmp_path, "local-demo", verdict("rq-1", "wrong_answer"))
    (path,) = reviews.files(tmp_path, "local-demo")
    first = path.read_bytes()
    reviews.append(tmp_path, "local-demo", verdict("rq-1", "correct_enhanced"))
    assert path.read_bytes().startswith(first)
    assert reviews.latest(reviews.read(path))["rq-1"].category == "correct_enhanced"


def test_a_bad_line_is_named_with_its_field(tmp_path: Path) -> None:
    reviews.append(tmp_path, "local-demo", verdict("rq-1", "wrong_answer"))
    (path,) = reviews.files(tmp_path, "local-demo")
    path.write_text(path.read_text() + path.read_text().replace("wrong_answer", "fine"))
    with pytest.raises(BadInput, match="line 2: field category"):
        reviews.read(path)
    path.write_text(verdict("rq-1", "wrong_answer", "bob").model_dump_json() + "\n")
    with pytest.raises(BadInput, match="line 1: field reviewer: 'bob' in ada's file"):
        reviews.read(path)


@pytest.mark.parametrize("reviewer", ["../ada", "", "A B", "ada/../../x"])
def test_a_reviewer_is_no_path(tmp_path: Path, reviewer: str) -> None:
    with pytest.raises(BadKey):
        reviews.review_file(tmp_path, "local-demo", reviewer)


def test_kappa_on_a_worked_example() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, chance 0.5, κ 0.4."""
    table = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    one = {str(number): first for number, (first, _) in enumerate(table)}
    other = {str(number): second for number, (_, second) in enumerate(table)}
    assert kappa(one, other) == (pytest.approx(0.4), 50)
    assert kappa(one, {}) == (None, 0)
    assert kappa({"a": "yes"}, {"a": "yes", "b": "no"}) == (None, 1)


def test_consensus() -> None:
    assert consensus([]) == ""
    assert consensus(["a"]) == "a"
    assert consensus(["a", "b", "a"]) == "a"
    assert consensus(["a", "b"]) == "disputed"


def pairs(**counts: int) -> pl.DataFrame:
    rows = [{"id": f"rq-{name}-{number}", "refiner": name} for name, count in counts.items() for number in range(count)]
    return pl.DataFrame(rows)


def test_a_larger_sample_begins_with_the_smaller_and_others_stay_when_one_goes() -> None:
    frame = pairs(a=200)
    fifty = draw(frame, 50, 0, None)["id"].to_list()
    assert fifty == draw(frame.reverse(), 100, 0, None)["id"].to_list()[:50]
    assert fifty != draw(frame, 50, 1, None)["id"].to_list()
    without = draw(frame.filter(pl.col("id") != fifty[10]), 50, 0, None)["id"].to_list()
    assert without[:-1] == [identity for identity in fifty if identity != fifty[10]]


@pytest.mark.parametrize(
    ("counts", "size", "expected"),
    [
        ({"a": 80, "b": 20}, 10, {"a": 8, "b": 2}),
        ({"a": 990, "b": 5, "c": 5}, 20, {"a": 18, "b": 1, "c": 1}),
        ({"a": 3, "b": 3}, 50, {"a": 3, "b": 3}),
        ({"a": 10, "b": 10, "c": 10}, 2, {"a": 1, "b": 1, "c": 0}),
    ],
)
def test_strata_get_their_share(counts: dict[str, int], size: int, expected: dict[str, int]) -> None:
    drawn = draw(pairs(**counts), size, 0, "refiner")
    found = dict(drawn.group_by("refiner").len().iter_rows())
    assert {name: found.get(name, 0) for name in counts} == expected
