import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webinstruct_assets.core.errors import BadKey
from webinstruct_assets.core.keys import PartitionKey, check_plain_snapshot, check_snapshot, plain_snapshot, profile_of


@pytest.mark.parametrize("key", ["CC-MAIN-2024-10", "local-demo", "local-a-b2"])
def test_snapshot_keys(key: str) -> None:
    assert check_snapshot(key) == check_plain_snapshot(key) == plain_snapshot(key) == key
    assert profile_of(key) is None
    profiled = f"{key}@rules-only"
    assert (check_snapshot(profiled), plain_snapshot(profiled), profile_of(profiled)) == (profiled, key, "rules-only")
    with pytest.raises(BadKey, match="not a snapshot key"):
        check_plain_snapshot(profiled)


@pytest.mark.parametrize(
    "key", ["local-demo@", "local-demo@..", "local-demo@A", "local-demo@a@b", "local-demo@a/b", "@a"]
)
def test_bad_profiles_are_refused(key: str) -> None:
    with pytest.raises(BadKey):
        check_snapshot(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "../../etc",
        "a|b",
        "CC-MAIN-24-10",
        "local-",
        "local-A",
        "local-a/b",
        "local-a\n",
        "local-" + "a" * 100,
        "CC-MAIN-2024-10 ",
        "CC-MAIN-2024-1٠",
    ],
)
def test_bad_snapshot_keys_are_refused(key: str) -> None:
    with pytest.raises(BadKey, match="not a snapshot key"):
        check_snapshot(key)


def test_multi_keys_are_dagsters() -> None:
    key = PartitionKey.parse(("snapshot", "refiner"), "mixtral-8x22b|local-demo")
    assert key.as_dict() == {"refiner": "mixtral-8x22b", "snapshot": "local-demo"}
    assert str(key) == "mixtral-8x22b|local-demo"
    assert key.path() == "refiner=mixtral-8x22b/snapshot=local-demo"
    with pytest.raises(BadKey, match="refiner × snapshot"):
        PartitionKey.parse(("snapshot", "refiner"), "local-demo")


NEARLY = st.from_regex(r"(CC-MAIN-\d{4}-\d{2}|local-[a-z0-9-]{1,6})(@[a-z0-9.-]{0,6})?", fullmatch=True)
HOSTILE = st.sampled_from(
    ["/", "..", "|", "'", '"', ";", "\x00", "\n", "\\", "%", "=", " ", "A", "é", "\u2024", "١", ""]
)


@given(NEARLY, HOSTILE, st.integers(0, 30))
def test_no_key_escapes_its_folder_or_ends_a_literal(key: str, bad: str, at: int) -> None:
    """Keys that are nearly right, with something of a path or of SQL put in."""
    text = key[:at] + bad + key[at:]
    for kind in ("snapshot", "recipe"):
        try:
            path = PartitionKey.of({kind: text}).path()
        except BadKey:
            continue
        assert re.fullmatch(r"(snapshot|recipe)=[A-Za-z0-9@.-]+", path) and ".." not in path
        assert (Path("/lake/pages") / path).resolve() == Path("/lake/pages") / path
