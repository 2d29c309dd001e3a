"""Scoring texts with a supervised fastText model, exactly and at the speed of memory.

A text's logits are ``W · mean(A[i])`` over the input vectors of its words and n-grams, and so ``mean(W · A[i])``: the
products are made once per word and bucket when the model is loaded, and a text costs one table walk. Two classes
need one number each (the difference of the logits), and so does any label of a one-vs-all model.

Tokens are fastText 0.9.2's (``Dictionary::readWord``, ``getLine``, ``addWordNgrams``, ``computeSubwords``): words end at
ASCII white space or a zero byte, ``</s>`` ends the line, labels are left out, unknown words count in n-grams only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from webinstruct_assets.core.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

    from webinstruct_assets.stages.recall.scorer_kernels import Tables, Vocabulary

MAGIC, VERSION = 793712314, 12
ARGUMENTS = np.dtype([(name, "<i4") for name in (
    "dim", "ws", "epoch", "min_count", "neg", "word_ngrams", "loss", "model", "bucket", "minn", "maxn", "lr_update_rate",
)] + [("t", "<f8")])  # fmt: skip
LOSSES = {1: "hs", 2: "ns", 3: "softmax", 4: "ova"}
SUPERVISED = 3
SIZES = np.dtype([("size", "<i4"), ("words", "<i4"), ("labels", "<i4"), ("tokens", "<i8"), ("pruned", "<i8")])
ROWS_AT_ONCE = 16384  # of the input matrix when folding
PADDING = 64  # bytes that the kernels read beyond a text

# fastText's sigmoid is a table of 513 values between -8 and 8 (``Loss::sigmoid``).
_SIGMOID = (1 / (1 + np.exp(-(np.arange(513, dtype=np.float32) / 32 - 8)).astype(np.float64))).astype(np.float32)


@dataclass(frozen=True)
class FastTextScorer:
    """A supervised fastText model folded for one label. Can be pickled, and used from many threads.

    ``loss``: ova, softmax, or logistic (softmax of two classes); ``column``: the label's among the classes.
    """

    label: str
    loss: str
    column: int
    known: "Vocabulary"
    tables: "Tables"

    @classmethod
    def load(cls, path: Path, label: str) -> "FastTextScorer":
        """Reads and folds a ``.bin`` model; ``label`` with its prefix, as fastText prints it.

        Raises BadInput when the file is not a complete, unquantized supervised softmax or one-vs-all model, or has
        no such label.
        """
        return _load(path, label)

    def score(self, texts: "Sequence[str | bytes] | pa.Array | pa.ChunkedArray") -> np.ndarray:
        """Probability of the label per text, float32 [n].

        What ``fasttext.predict`` gives for the label before it adds 1e-5, a newline counting as a space; 0 where it
        gives no label at all (neither a known word nor an n-gram). Arrow string and binary arrays are read in place.
        The GIL is released. Raises ValueError for an array with nulls, TypeError for one of another type.
        """
        import pyarrow as pa

        if isinstance(texts, pa.ChunkedArray):
            parts = [self.score(chunk) for chunk in texts.chunks]
            return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)
        if not isinstance(texts, pa.Array):
            texts = pa.array(
                [text.encode() if isinstance(text, str) else text for text in texts], type=pa.large_binary()
            )
        return self._probabilities(self._means(texts))

    def _means(self, texts: "pa.Array") -> np.ndarray:
        from webinstruct_assets.stages.recall.scorer_kernels import mean_rows

        offsets, data = _buffers(texts)
        means = np.zeros((len(texts), self.tables.values.shape[1]), dtype=np.float64)
        # Texts near the end of the bytes are scored in a padded copy, so the kernels need not look where bytes end.
        whole = int(np.searchsorted(offsets, data.size - PADDING, side="right")) - 1
        whole = min(max(whole, 0), len(texts))
        if whole:
            mean_rows(data.ctypes.data, offsets[: whole + 1], self.known, self.tables, means[:whole])
        if whole < len(texts):
            rest = np.zeros(int(offsets[-1] - offsets[whole]) + PADDING, dtype=np.uint8)
            rest[:-PADDING] = data[offsets[whole] : offsets[-1]]
            mean_rows(rest.ctypes.data, offsets[whole:] - offsets[whole], self.known, self.tables, means[whole:])
        return means

    def _probabilities(self, means: np.ndarray) -> np.ndarray:
        empty = np.isnan(means[:, 0])
        with np.errstate(over="ignore", invalid="ignore"):
            if self.loss == "ova":
                logits = means[:, 0].astype(np.float32)
                place = ((np.clip(np.nan_to_num(logits), -8, 8) + np.float32(8)) * np.float32(32)).astype(np.int64)
                result = np.where(logits < -8, 0, np.where(logits > 8, 1, _SIGMOID[place]))
            elif self.loss == "logistic":
                result = 1 / (1 + np.exp(-means[:, 0]))
            else:
                powers = np.exp(means - means.max(axis=1, keepdims=True))
                result = powers[:, self.column] / powers.sum(axis=1)
        return np.where(empty, 0, result).astype(np.float32)


def _buffers(texts: "pa.Array") -> tuple[np.ndarray, np.ndarray]:
    """Offsets (int64 [n + 1]) into the bytes of an Arrow array, and these bytes (uint8), without copying them."""
    import pyarrow as pa

    kind = texts.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        texts = texts.cast(pa.large_binary())
    large = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    if not (large or pa.types.is_string(texts.type) or pa.types.is_binary(texts.type)):
        raise TypeError(f"an array of strings or bytes is needed, not of {kind}")
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null")
    _, offsets, data = texts.buffers()
    if offsets is None or len(texts) == 0:
        return np.zeros(len(texts) + 1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    numbers = np.frombuffer(offsets, dtype=np.int64 if large else np.int32)
    numbers = numbers[texts.offset : texts.offset + len(texts) + 1].astype(np.int64, copy=False)
    if len(numbers) > 1 and int(np.diff(numbers).max()) >= 2**31:
        raise ValueError("a text of 2 GiB or more cannot be scored")
    return numbers, np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)


def _load(path: Path, label: str) -> FastTextScorer:
    from webinstruct_assets.stages.recall import scorer_kernels as kernels

    def bad(problem: str, fix: str = "give a .bin file that fastText 0.9.2 wrote (`save_model`), whole") -> BadInput:
        return BadInput(f"fastText model {path}: {problem}", fix)

    try:
        size = path.stat().st_size
        data = np.memmap(path, dtype=np.uint8, mode="r") if size else np.empty(0, dtype=np.uint8)
    except OSError as error:
        raise bad(f"cannot be read ({error.strerror})", "check the path and its permissions") from None
    position = 0

    def take(dtype: Any, count: int = 1) -> np.ndarray:
        nonlocal position
        end = position + np.dtype(dtype).itemsize * count
        if count < 0 or end > size:
            raise bad(f"ends after {size} bytes, {end} at least are needed")
        values = data[position:end].view(dtype)
        position = end
        return np.asarray(values)

    magic, version = take("<i4", 2) if size >= 8 else (0, 0)
    if magic != MAGIC:
        raise bad("is not a fastText model (its first bytes are others)")
    if version not in (11, VERSION):
        raise bad(f"has format version {version}, {VERSION} is known")
    arguments = take(ARGUMENTS)[0]
    loss = LOSSES.get(int(arguments["loss"]))
    if arguments["model"] != SUPERVISED:
        raise bad("holds word vectors, not a classifier", "train it with `fasttext supervised` (train_supervised)")
    if loss not in ("softmax", "ova"):
        raise bad(f"was trained with loss {loss}, which does not fold", "train it with -loss softmax or -loss ova")
    maxn = int(arguments["maxn"]) if version == VERSION else 0  # as FastText::loadModel does for old models
    minn, dim, bucket, word_ngrams = (int(arguments[name]) for name in ("minn", "dim", "bucket", "word_ngrams"))
    counts = take(SIZES)[0]
    words, labels = int(counts["words"]), int(counts["labels"])
    if min(dim, words + 1, labels, bucket + 1, maxn + 1, word_ngrams + 1) < 1 or counts["size"] != words + labels:
        raise bad("has impossible sizes")
    if (word_ngrams > 1 or maxn) and not bucket:
        raise bad("uses n-grams and has no buckets for them")
    if counts["pruned"] >= 0:
        raise bad("is pruned", "give the model as it was before `quantize -cutoff`")

    # Numbers of words are dictionary ids + 1: 0 means unknown.
    begins, lengths = np.zeros(words + labels + 1, dtype=np.int64), np.zeros(words + labels + 1, dtype=np.int64)
    kinds = np.zeros(words + labels + 1, dtype=np.uint8)
    start = position
    position = kernels.dictionary_entries(np.asarray(data), start, begins, lengths, kinds)
    if position < 0:
        raise bad(f"ends after {size} bytes, inside its dictionary")
    pool = np.zeros(position - start + PADDING, dtype=np.uint8)
    pool[:-PADDING] = data[start:position]
    begins -= start
    spans = (begins.astype(np.uint64) << np.uint64(32)) | lengths.astype(np.uint64)
    if kinds[1 : words + 1].any() or (kinds[words + 1 :] != 1).any() or not lengths[1:].all():
        raise bad("has a dictionary that is not words followed by labels")

    def text_of(number: int) -> str:
        return pool[begins[number] : begins[number] + lengths[number]].tobytes().decode(errors="replace")

    names = [text_of(number) for number in range(words + 1, words + labels + 1)]
    if label not in names:
        raise bad(f"has no label {label!r}; its labels: {', '.join(names[:20])}", "name one of the model's labels")

    def matrix(name: str, rows: int) -> np.ndarray:
        if take(np.uint8)[0]:
            raise bad(f"is quantized ({name})", "give the .bin file that the .ftz was made from")
        shape = tuple(int(number) for number in take("<i8", 2))
        if shape != (rows, dim):
            raise bad(f"has {name} of {shape[0]} x {shape[1]}, not {rows} x {dim}")
        return take("<f4", rows * dim).reshape(rows, dim)

    matrix("an input matrix", words + bucket)
    begin_of_inputs = position - 4 * dim * (words + bucket)
    outputs = matrix("an output matrix", labels).astype(np.float64)
    column = names.index(label)
    if loss == "ova":
        weights = outputs[[column]]
    elif labels == 2:
        loss, weights = "logistic", outputs[[column]] - outputs[[1 - column]]
    else:
        weights = outputs
    folded = np.empty((words + bucket, len(weights)), dtype=np.float64)
    for begin in range(0, words + bucket, ROWS_AT_ONCE):
        # Read, not mapped: the matrix of the paper's shape has 2 GB, which would count as this process's memory.
        count = min(ROWS_AT_ONCE, words + bucket - begin)
        rows = np.fromfile(path, dtype="<f4", count=count * dim, offset=begin_of_inputs + 4 * dim * begin)
        folded[begin : begin + count] = rows.reshape(count, dim).astype(np.float64) @ weights.T
    if not np.isfinite(folded).all():
        raise bad("has parameters that are not finite numbers: its training diverged", "train it with a lower rate")

    values = np.zeros((words + 1, len(weights)), dtype=np.float64)
    values[1:] = folded[:words]
    sizes = np.ones(words + 1, dtype=np.int64)
    sizes[0] = 0
    buckets = folded[words:].astype(np.float32)
    end = 0
    for number in np.flatnonzero(lengths == 4):
        if text_of(number) == "</s>" and number <= words:
            end = int(number)
    if maxn:
        for number in range(1, words + 1):
            if number != end:
                word = pool[begins[number] : begins[number] + lengths[number]]
                sizes[number] += kernels.add_subwords(word, minn, maxn, buckets, values[number])
    tables = kernels.Tables(
        values.astype(np.float32), sizes, buckets, np.uint64(min(2**64 // max(bucket, 1), 2**64 - 1)),
        np.uint32(end), word_ngrams, minn, maxn,
    )  # fmt: skip
    return FastTextScorer(label, loss, column, _vocabulary(pool, spans, words), tables)


def _vocabulary(pool: np.ndarray, spans: np.ndarray, words: int) -> "Vocabulary":
    """The perfect hash table of a dictionary (hash and displace, CHD: Belazzougui, Botelho, Dietzfelbinger 2009)."""
    from webinstruct_assets.stages.recall import scorer_kernels as kernels

    first, keys = np.zeros(spans.size, dtype=np.uint64), np.zeros(spans.size, dtype=np.uint64)
    kernels.word_keys(pool, spans, first, keys)
    # Words with the same key (same first bytes, same hash) share a slot and are linked.
    order = np.argsort(keys[1:], kind="stable") + 1
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    following = np.zeros(spans.size, dtype=np.uint32)
    following[order[same]] = order[same + 1]
    order = np.delete(order, same + 1)
    slot_bits = max(2, int(np.ceil(np.log2(order.size / 0.8 + 1))))
    while True:
        group_bits = max(1, slot_bits - 2)
        group_shift, slot_shift = np.uint64(64 - group_bits), np.uint64(64 - slot_bits)
        of = (keys[order] >> group_shift).astype(np.int64)
        members = np.bincount(of, minlength=2**group_bits)
        by_size = order[np.lexsort((of, -members[of]))]
        groups = (keys[by_size] >> group_shift).astype(np.int64)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1, [groups.size]])
        displacements = np.zeros(2**group_bits, dtype=np.uint16)
        slots = np.zeros(2 * 2**slot_bits, dtype=np.uint64)
        if kernels.place(by_size, starts, first, keys, displacements, slots, slot_shift, group_shift):
            return kernels.Vocabulary(
                displacements, group_shift, slots, slot_shift, following, spans, pool, np.uint64(words)
            )
        slot_bits += 1
