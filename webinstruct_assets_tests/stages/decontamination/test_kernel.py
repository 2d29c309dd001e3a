"""The compiled look-up gives what the plain words and the plain rule give, on whatever text."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webinstruct_assets.stages.decontamination import kernel
from webinstruct_assets.stages.decontamination.index import BenchmarkIndex, BenchmarkItem
from webinstruct_assets.stages.decontamination.words import words
from webinstruct_assets_tests.stages.decontamination import reference

# What numbers, commands, accents and invisible characters are made of, so that they meet.
PIECES = [
    *"aAzZ019 ,.\\{}!*$^_\n", "\\frac", "\\begin{", "\\end{", "\\alpha", "\\varphi", "\\,", ",\\!", "{,}", "000", "12", "123",
    "²", "³", "½", "①", "⒈", "\u200b", "\u00ad", "é", "e\u0301", "\u0301", "x\u0304", "I\u0307", "a\u0308\u0301", "ﬁ", "ß", "İ",
    "K", "𝑥", "𝟓", "٣", "…", "，", "．", "｛", "α", "Σ", "한", "ᄒ", "ᅡ", "ᆫ", "\u00a0", "ª", "😀", "\U00020000", "㏂", "㍘", "⑴",
    "‼", "ﾞ", "カ", "var", "begin", "\u0345",
]  # fmt: skip


def differing(texts: list[str], tex: bool = True) -> list[str]:
    """Texts whose words the kernel hashes otherwise than ``words`` gives them."""
    fast = kernel.hash_words(texts, tex=tex)
    plain = kernel.hash_words([" ".join(words(text, tex=tex)) for text in texts], joined=True)
    return [text for row, text in enumerate(texts) if fast.of(row).tolist() != plain.of(row).tolist()]


@pytest.mark.parametrize("tex", [True, False])
def test_words_of_every_mixture(tex: bool) -> None:
    chooser = random.Random(0)
    texts = ["".join(chooser.choices(PIECES, k=chooser.randrange(1, 14))) for _ in range(40_000)]
    assert differing(texts, tex) == []


def test_words_of_every_character() -> None:
    characters = [chr(code) for code in range(0x80, kernel.CODE_POINTS + 16) if not 0xD800 <= code <= 0xDFFF]
    assert differing([f"a{character}b" for character in characters]) == []
    assert differing([f"1{character}2" for character in characters]) == []


def test_most_texts_need_no_second_look() -> None:
    texts = [
        "Où est le café? 10² + ½ = 100.5, “naïve” — x̄ ≤ 3… α and \\beta, a\u0308",
        "日本語の文章です。",
        "Привет, мир! 😀",
    ]
    buffer, offsets = kernel.buffers(texts)
    lookup = BenchmarkIndex([BenchmarkItem("b", "1", "one two three four five six", "")]).lookup
    _, slow = kernel.scan_buffer(buffer, offsets, lookup)
    assert not slow.any()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=4))
def test_words_of_any_text(texts: list[str]) -> None:
    assert differing(texts) == []


WORDS = ["the", "a", "of", "x", "7", "force", "\\frac{1}{2}", "is", "½"]


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_the_verdict_is_the_plain_rule(chooser: random.Random, tex: bool) -> None:
    def sentence(least: int, most: int) -> str:
        return " ".join(chooser.choices(WORDS, k=chooser.randrange(least, most)))

    items = [
        BenchmarkItem("b", str(number), sentence(2, 16), sentence(1, 9), tuple(sentence(1, 5) for _ in range(choices)), sentence(0, 8))
        for number, choices in enumerate(chooser.choices([0, 0, 3], k=6))
    ]  # fmt: skip
    quoted = chooser.choice(items)
    texts = [sentence(0, 50), f"{sentence(0, 5)} {quoted.question.upper()} {sentence(0, 5)}", f"So: {quoted.answer}!"]
    index = BenchmarkIndex(items, n=6, min_words=3, tex=tex)
    found = index.find_many(texts)
    for row, text in enumerate(texts):
        matches = {(match.benchmark, match.item_id) for match in found.get(row, [])}
        expected = reference.find(items, text, 6, 3, tex)
        # A gram of more than eight items names the first eight; six items never get there.
        assert matches == expected, (items, text)
