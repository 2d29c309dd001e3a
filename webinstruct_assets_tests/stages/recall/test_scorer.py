"""The folded scorer against the fastText module, on models of every kind it takes, and what it refuses."""

import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.recall.scorer import FastTextScorer

LABEL = "__label__positive"
WORDS = [
    "question", "answer", "solve", "prove", "of", "a", "the", "é", "漢字", "x" * 8, "x" * 9, "x" * 16, "x" * 17, "x" * 40,
    "internationalization", "internationalisation", "Привет", "слово", "1", "?",
]  # fmt: skip
# Models by name: arguments of fastText's training, labels, and the prefix of labels where it is not the usual one.
MODELS: dict[str, dict[str, Any]] = {
    "paper": {"wordNgrams": 3, "bucket": 5000},
    "unigrams": {"wordNgrams": 1},
    "bigrams in one bucket": {"wordNgrams": 2, "bucket": 1},
    "five-grams": {"wordNgrams": 5, "bucket": 97, "lr": 0.05},
    "four classes": {"wordNgrams": 2, "bucket": 1000, "classes": 4},
    "one class": {"wordNgrams": 2, "bucket": 100, "classes": 1},
    "subwords": {"wordNgrams": 2, "bucket": 500, "minn": 2, "maxn": 4},
    "subwords of one character": {"wordNgrams": 1, "bucket": 64, "minn": 1, "maxn": 2, "lr": 0.05},
    "subwords, five classes": {"wordNgrams": 3, "bucket": 3, "minn": 3, "maxn": 3, "classes": 5, "lr": 0.05},
    "one against all": {"wordNgrams": 2, "bucket": 1000, "loss": "ova", "classes": 3},
    "one against all, subwords": {"wordNgrams": 1, "bucket": 1000, "loss": "ova", "minn": 2, "maxn": 3},
    "rare words and no line end": {"wordNgrams": 2, "bucket": 1000, "minCount": 70},
    "other prefix": {"wordNgrams": 2, "bucket": 1000, "label": "__class__"},
}


def trained(folder: Path, extra: Sequence[str] = (), **arguments: Any) -> Path:
    """A model trained in a fresh process (as the product does, so that it is the same in every run)."""
    chooser = random.Random(7)
    prefix, classes = arguments.get("label", "__label__"), arguments.pop("classes", 2)
    names = ["positive", "b", "c", "d", "e"][:classes]
    corpus, output = folder / "corpus.txt", folder / "model.bin"
    with corpus.open("w", encoding="utf-8") as stream:
        for number in range(60):
            share = WORDS[number % classes :: classes] + WORDS[:6] + list(extra)
            text = " ".join(chooser.choices(share, k=chooser.randrange(3, 30)))
            stream.write(f"{prefix}{names[number % classes]} {text}\n")
    given_arguments = {
        "input": str(corpus), "dim": 8, "epoch": 8, "lr": 0.5, "minCount": 1, "seed": 1, "thread": 1, "verbose": 0,
        **arguments,
    }  # fmt: skip
    code = f"import fasttext; fasttext.train_supervised(**{given_arguments!r}).save_model({str(output)!r})"
    # glibc then fills what it allocates with zeros: small matrices, too, begin as the product's large ones do.
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "MALLOC_PERTURB_": "255"}, check=True)
    return output


class Pair:
    """A model loaded both ways."""

    def __init__(self, path: Path, label: str = LABEL):
        self.path, self.label = path, label
        self.library = fasttext.load_model(str(path))
        self.words = [word.encode() for word in self.library.get_words()]
        self.scorer = FastTextScorer.load(path, label)

    def expected(self, text: bytes) -> float:
        """The library's probability of the label without the 1e-5 it adds."""
        line = text.replace(b"\n", b" ") + b"\n"
        pairs = self.library.f.predict(line, -1, 0.0, "strict")
        return {name: score for score, name in pairs}.get(self.label, 1e-5) - 1e-5

    def exact(self, text: bytes) -> float:
        """The definition, in double precision: fastText's own subwords and matrices, and plain sums."""
        model = self.library
        args = model.f.getArgs()
        inputs, outputs = model.get_input_matrix().astype(float), model.get_output_matrix().astype(float)
        known, labels = {word: i for i, word in enumerate(self.words)}, model.get_labels()
        rows, hashes = [], []
        for token in [*filter(None, re.split(rb"[ \n\r\t\v\f\0]", text)), b"</s>"]:
            if token not in known and (token.decode(errors="replace") in labels or token.startswith(b"__label__")):
                continue
            if token in known or token != b"</s>":
                ids = [known[token]] if token in known and not args.maxn else model.f.getSubwords(token, "replace")[1]
                rows += ids
            value = 2166136261
            for byte in token:
                value = (value ^ (byte | 0xFFFFFF00 if byte > 127 else byte)) * 16777619 % 2**32
            hashes.append(value - 2**32 if value >= 2**31 else value)
            if token == b"</s>":
                break
        for i, value in enumerate(hashes):
            for other in hashes[i + 1 : i + args.wordNgrams]:
                value = (value * 116049371 + other) % 2**64
                rows.append(len(known) + value % args.bucket)
        if not rows:
            return 0.0
        logits = outputs @ inputs[rows].mean(axis=0)
        if self.scorer.loss == "ova":
            return float(1 / (1 + np.exp(-logits[labels.index(self.label)])))
        powers = np.exp(logits - logits.max())
        return float(powers[labels.index(self.label)] / powers.sum())

    def check(self, texts: list[bytes]) -> None:
        """Differences are at most 1e-6, but where the library's own single-precision sums are farther off."""
        scores = self.scorer.score(texts)
        assert scores.dtype == np.float32 and scores.shape == (len(texts),)
        expected = np.array([self.expected(text) for text in texts])
        wrong = np.abs(scores - expected) > 1e-6
        if self.scorer.loss == "ova":  # its sigmoid is a staircase: at an edge, rounding decides between two steps
            places = self.scorer._means(pa.array(texts, pa.binary()))[:, 0] * 32
            wrong &= np.abs(places - np.round(places)) > 1e-3
        else:
            for i in np.flatnonzero(wrong):
                wrong[i] = abs(self.exact(texts[i]) - scores[i]) > 1e-7
        assert not wrong.any(), [
            (text, score, other) for text, score, other, bad in zip(texts, scores, expected, wrong, strict=True) if bad
        ]


@pytest.fixture(scope="session", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Each kind of model."""
    arguments = MODELS[request.param]
    path = trained(tmp_path_factory.mktemp("model"), **arguments)
    return Pair(path, arguments.get("label", "__label__") + "positive")


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The paper's kind: two classes, trigrams."""
    return Pair(trained(tmp_path_factory.mktemp("model"), **MODELS["paper"]))


separator = st.sampled_from([b" ", b"\n", b"\t", b"\r", b"\v", b"\f", b"\0", b"  ", b"\r\n", b" \n\n "])
odd = st.sampled_from(
    """
    </s> </s>x x</s> </ __label__positive __label__x __label__ __label_ __label __labels__ __class__positive __class__x
    x<s> < > << internationalizatio internationalizationn xxxxxxx
    """.split()  # noqa: SIM905
).map(str.encode)
token = st.one_of(
    st.sampled_from(WORDS).map(str.encode),
    odd,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(str.encode),
    st.binary(max_size=20),
    st.integers(1, 300).map(lambda size: b"x" * size),
)
texts = st.lists(st.tuples(token, separator), max_size=40).map(lambda parts: b"".join(a + b for a, b in parts))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, max_size=4))
def test_probabilities_are_the_librarys(pair: Pair, batch: list[bytes]) -> None:
    pair.check(batch)


def test_empty_texts_and_texts_of_separators(pair: Pair) -> None:
    pair.check([b"", b" ", b"\n", b"\0", b"</s>", b"unknown", b" \t\n" * 50, b"question"])
    assert pair.scorer.score([]).shape == (0,)


def test_texts_longer_than_a_block(pair: Pair) -> None:
    chooser = random.Random(3)
    vocabulary = [*WORDS, "unknown", "Ω" * 33, "yyyyyyyyy"]
    batch = [
        chooser.choice([" ", "\n"]).join(chooser.choices(vocabulary, k=length)).encode()
        for length in (31, 32, 33, 63, 64, 65, 95, 96, 97, *range(125, 132), 255, 256, 257, 5000)
    ]
    batch += [b"q" * 100_000, b"a " * 3000, b" " * 5000 + b"answer", (b"a " * 1500) + b"__label__x " + b"the " * 1500]
    batch += [b"a " * 1500 + b"</s> " + b"the " * 1500]
    pair.check(batch)


def test_scores_spread(paper: Pair) -> None:
    chooser = random.Random(5)
    scores = paper.scorer.score([" ".join(chooser.choices(WORDS, k=6)) for _ in range(500)])
    assert scores.min() < 0.1 and scores.max() > 0.9 and ((scores > 0.2) & (scores < 0.8)).mean() > 0.1


def fnv(words: np.ndarray) -> np.ndarray:
    """FNV-1a of ASCII words of one length, uint8 [n, length] -> uint32 [n]."""
    value = np.full(len(words), 2166136261, dtype=np.uint32)
    for column in words.T:
        value = (value ^ column) * np.uint32(16777619)
    return value


@pytest.mark.parametrize("beginning", ["", "prefix-8"])
def test_words_with_one_hash_are_told_apart(beginning: str, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(97, 123, (400_000, 7), dtype=np.uint8)
    words = np.unique(np.hstack([np.tile(np.frombuffer(beginning.encode(), np.uint8), (len(drawn), 1)), drawn]), axis=0)
    hashes = fnv(words)
    order = np.argsort(hashes)
    same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    pairs = [tuple(words[order[i + k]].tobytes().decode() for k in (0, 1)) for i in same]
    assert len(pairs) > 5
    known = [word for first, second in pairs[::2] for word in (first, second)] + [first for first, _ in pairs[1::2]]
    path = trained(tmp_path, known, dim=8, wordNgrams=2, bucket=100)
    Pair(path).check([word.encode() for both in pairs for word in both])


def test_every_kind_of_input_is_read_alike(paper: Pair) -> None:
    texts = ["question " * 30, "", "é the answer", "x" * 200, "", "solve\nprove"]
    expected = paper.scorer.score(texts)
    kinds = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view(), pa.binary_view()]
    for kind in kinds:
        array = pa.array(texts, type=pa.string()).cast(kind)
        np.testing.assert_array_equal(paper.scorer.score(array), expected)
        np.testing.assert_array_equal(paper.scorer.score(array[2:5]), expected[2:5])
        np.testing.assert_array_equal(paper.scorer.score(pa.chunked_array([array[:1], array[1:]])), expected)
    np.testing.assert_array_equal(paper.scorer.score([text.encode() for text in texts]), expected)
    assert paper.scorer.score(pa.chunked_array([], type=pa.string())).shape == (0,)
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        paper.scorer.score(pa.array(["a", None]))
    with pytest.raises(TypeError, match="int64"):
        paper.scorer.score(pa.array([1]))


def test_an_array_is_read_in_place(paper: Pair) -> None:
    array = pa.array(["question " * 1000] * 2000, type=pa.large_string())
    before = pa.total_allocated_bytes()
    paper.scorer.score(array)
    assert pa.total_allocated_bytes() == before


def test_threads_and_processes(paper: Pair) -> None:
    chooser = random.Random(9)
    batches = [[" ".join(chooser.choices(WORDS, k=300)) for _ in range(50)] for _ in range(8)]
    copy = pickle.loads(pickle.dumps(paper.scorer))
    with ThreadPoolExecutor(4) as pool:
        for batch, scores in zip(batches, pool.map(copy.score, batches), strict=True):
            np.testing.assert_array_equal(scores, paper.scorer.score(batch))


def test_a_file_cut_anywhere_is_refused(paper: Pair, tmp_path: Path) -> None:
    data = paper.path.read_bytes()
    cut = tmp_path / "cut.bin"
    chooser = random.Random(1)
    for size in [0, 1, 7, 8, 63, 64, 90, 200, len(data) - 1, *chooser.choices(range(len(data)), k=30)]:
        cut.write_bytes(data[:size])
        with pytest.raises(BadInput, match=r"cut\.bin"):
            FastTextScorer.load(cut, LABEL)


def test_other_files_are_refused(paper: Pair, tmp_path: Path) -> None:
    data = paper.path.read_bytes()
    diverged = bytearray(data)
    diverged[-4:] = np.float32(np.nan).tobytes()
    cases: dict[str, tuple[bytes, str]] = {
        "text": (b"not a model at all, but long enough to be one", "is not a fastText model"),
        "version": (data[:4] + b"\x63\0\0\0" + data[8:], "format version 99"),
        "sizes": (data[:8] + b"\xff\xff\xff\xff" + data[12:], "impossible sizes"),
        "dimension": (data[:8] + b"\x09\0\0\0" + data[12:], "input matrix"),
        "vectors": (data[:36] + b"\x01" + data[37:], "word vectors"),  # what a CBOW model has there
        "diverged": (bytes(diverged), "diverged"),
    }
    for name, (content, problem) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BadInput, match=problem):
            FastTextScorer.load(path, LABEL)
    with pytest.raises(BadInput, match="cannot be read"):
        FastTextScorer.load(tmp_path / "absent", LABEL)
    with pytest.raises(BadInput, match="no label 'positive'; its labels: __label__"):
        FastTextScorer.load(paper.path, "positive")


@pytest.mark.parametrize("loss", ["hs", "ns"])
def test_losses_that_do_not_fold_are_refused(loss: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"loss {loss}"):
        FastTextScorer.load(trained(tmp_path, loss=loss), LABEL)


def _quantized(model: Any, corpus: Path) -> None:
    model.quantize(input=str(corpus), retrain=False)


def _pruned(model: Any, corpus: Path) -> None:
    model.quantize(input=str(corpus), cutoff=300, retrain=True, thread=1)


@pytest.mark.parametrize(("change", "problem"), [(_quantized, "is quantized"), (_pruned, "is pruned")])
def test_compressed_models_are_refused(change: Callable[[Any, Path], None], problem: str, tmp_path: Path) -> None:
    model = fasttext.load_model(str(trained(tmp_path, wordNgrams=2, bucket=1000)))
    change(model, tmp_path / "corpus.txt")
    model.save_model(str(tmp_path / "model.ftz"))
    with pytest.raises(BadInput, match=problem):
        FastTextScorer.load(tmp_path / "model.ftz", LABEL)
