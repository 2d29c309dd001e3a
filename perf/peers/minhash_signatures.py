"""datatrove's part in ``perf.duplicates``: shingles and MinHash signatures, run in its own environment."""

import json
import sys
import time
from pathlib import Path

from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature


def main(work: Path) -> None:
    """A run over the documents per line of input, with datatrove's defaults (5-grams, 14 buckets of 8)."""
    step = MinhashDedupSignature(str(work / "signatures"), MinhashConfig())
    texts = json.loads((work / "documents.json").read_text())
    for _ in sys.stdin:
        start = time.perf_counter()
        made = [step.get_signature(step.get_shingles(text)) for text in texts]
        print(json.dumps({"seconds": time.perf_counter() - start, "result": len(made)}), file=answers, flush=True)


if __name__ == "__main__":
    # What the libraries print is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    main(Path(sys.argv[1]))
