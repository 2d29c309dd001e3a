"""datatrove's part in ``perf.recall``: its reader and its fastText filter, run in its own environment.

Protocol of ``perf.recall.serve``: a line with a number on standard input, a line of JSON on standard output.
"""

import json
import resource
import sys
import time

from datatrove.pipeline.filters import FastTextClassifierFilter
from datatrove.pipeline.readers import WarcReader


def main(work: str, threshold: float) -> None:
    """Pages that the model scores at or above ``threshold``; predict adds 1e-5 to a probability."""
    classifier = FastTextClassifierFilter(
        f"{work}/model.bin", keep_labels=("positive", threshold + 1e-5), newline_replacement=" "
    )
    assert classifier.model  # loaded before anything is timed
    for line in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            reader = WarcReader(work, glob_pattern="*.warc.wet.gz", compression="gzip")
            kept = sum(1 for _ in classifier.run(reader.run()))
        told = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - used, "result": kept}
        told["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    # What the libraries print is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    main(sys.argv[2], float(sys.argv[3]))
