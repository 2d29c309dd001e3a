import polars as pl
import pytest

from webinstruct_assets.stages.recall.domains import candidates, parse_label, request


def test_recall_rate_is_recalled_over_read() -> None:
    pages = pl.DataFrame(
        {
            "id": ["r1-3", "r1-1", "r1-2"],
            "domain": ["a.example", "a.example", "b.example"],
            "title": ["T1", "T2", "T3"],
            "score": pl.Series([0.5, 0.7, 0.9], dtype=pl.Float32),
        }
    )
    read = pl.DataFrame({"domain": ["a.example", "b.example", "c.example"], "pages": [8, 1, 5]})
    rows = candidates(pages, read, 1).to_dicts()
    assert [(row["domain"], row["recalled"], row["recall_rate"], row["titles"], row["parent_id"]) for row in rows] == [
        ("a.example", 2, 0.25, ["T2"], "r1-1"),
        ("b.example", 1, 1.0, ["T3"], "r1-2"),
    ]


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ('{"label": "educational"}', "educational"),
        ('{"label": "non-educational"}', "non-educational"),
        ('{"label": "maybe"}', None),
        ("educational", None),
        ("[]", None),
        ("", None),
        ('{"label"', None),
    ],
)
def test_only_the_two_labels_count(reply: str, label: str | None) -> None:
    assert parse_label(reply) == label


def test_requests_share_their_prefix() -> None:
    first, second = request("a.example", ["x"]).messages, request("b.example", []).messages
    assert first and second and first[:-1] == second[:-1]
    assert "a.example" in first[-1]["content"]
