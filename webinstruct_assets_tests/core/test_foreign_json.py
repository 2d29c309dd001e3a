import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webinstruct_assets.core.foreign_json import read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@settings(max_examples=50)
@given(VALUES)
def test_what_can_be_written_is_read_as_it_is_and_the_rest_can_be_written(value: object) -> None:
    read = read_json(json.dumps(value))
    written = json.dumps(read, ensure_ascii=False).encode()  # raises where half of a pair is left
    if "\\ud" not in json.dumps(value):
        assert read == value and json.loads(written) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d\ude00"', "\N{GRINNING FACE}"),
        (r'"cut \ud83d"', "cut \ufffd"),
        (r'{"\ude00": "\uDFFFx"}', {"\ufffd": "\ufffdx"}),
        (r'"\\ud83d"', r"\ud83d"),  # a backslash, and no escape
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    ],
)
def test_surrogates(text: str | bytes, value: object) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text", ["[" * 5000, '{"a":' * 100_000, "[" * 900 + r'"\ud800"' + "]" * 900, "", b"\xff", "nul"]
)
def test_whatever_is_wrong_is_a_value_error(text: str | bytes) -> None:
    try:
        read_json(text)
    except ValueError:
        return
    assert len(text) < 5000, "read, though nested"
