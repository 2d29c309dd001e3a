"""datatrove's part in ``perf.decontamination``: its n-gram filter with n = 10, run in its own environment."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.text import ngrams, simplify_text


def main(work: Path) -> None:
    """Hashes of questions and answers into an index folder; then a run over the documents per line of input."""
    config = NGramsDecontConfig(n_grams=10, find_query_ngrams=True, find_overlap_ngrams=False)
    check = NGramsDecontFilter(str(work / "index"), config)
    # What its indexer does; that one wants lighteval installed, for tasks that are not used here.
    hashes = set()
    for pair in json.loads((work / "items.json").read_text()):
        for text in pair:
            tokens = check.tokenizer.word_tokenize(simplify_text(text, config.norm_config))
            hashes.update(check.hash_func(" ".join(gram)) for gram in ngrams(tokens, config.n_grams))
    (work / "index").mkdir()
    np.array(list(hashes), dtype=config.hash_config.np_descr).tofile(work / "index/real.index.hashes")
    documents = [
        Document(text=text, id=str(n)) for n, text in enumerate(json.loads((work / "documents.json").read_text()))
    ]
    for _ in sys.stdin:
        start = time.perf_counter()
        found = sum(check.filter(document) is not True for document in documents)
        print(json.dumps({"seconds": time.perf_counter() - start, "result": found}), file=answers, flush=True)


if __name__ == "__main__":
    # What the libraries print is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    main(Path(sys.argv[1]))
