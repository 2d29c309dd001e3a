"""Crawled text in the UI is inert: no HTML, no image or link, no broken table."""

import polars as pl
import pytest

from webinstruct_assets.assets.metadata import CELL_CHARACTERS, cell, columns, table
from webinstruct_assets.assets.plots import MAX_BYTES, draw
from webinstruct_assets.graph import STAGES


@pytest.mark.parametrize("hostile", [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "![x](https://evil.example/track.png)",
    "[click](javascript:alert(1))", "a | b\n| c", "`code`", "$x$ **bold**", "&lt;script&gt;",
])  # fmt: skip
def test_page_text_cannot_inject_markup(hostile: str) -> None:
    text = cell(hostile)
    assert "<" not in text and ">" not in text and "\n" not in text
    for character in "[]()!|`*$":
        assert text.count(character) == text.count("\\" + character), text


def test_long_cells_are_cut_and_tables_keep_their_shape() -> None:
    frame = pl.DataFrame({"a": ["x" * 1000, "p | q"], "b": [[{"k": 1}], []]})
    lines = table(frame).split("\n")
    assert len(lines) == 4
    assert all(line.replace("\\|", "").count("|") == 3 for line in lines)
    assert len(cell("x" * 1000)) == CELL_CHARACTERS


def test_plots_are_small_images_inside_the_text() -> None:
    picture = draw("Title", lambda axes: axes.plot([1, 2, 3]))
    assert picture.startswith("![Title](data:image/png;base64,") and len(picture) < MAX_BYTES * 1.4


def test_addresses_are_no_links_and_invisible_signs_are_spelled_out() -> None:
    text = cell("https://evil.example/ www.evil.example me@evil.example \u202etxt\x1b[31m")
    assert not any(sign in text for sign in ("://", "www.", "e@", "\u202e", "\x1b"))
    assert "\\u202etxt" in text and "\\u001b" in text


def test_every_column_says_what_it_holds() -> None:
    for stage in STAGES:
        assert not [column.name for column in columns(stage).columns if not column.description], stage.asset
