"""NeMo Curator's part in ``perf.recall``: its iterate, score and filter stages, run in its own environment.

Curator's ``CommonCrawlWarcIterator`` yields ``response`` records only, so a WET file gives it nothing. ``WetIterator``
is the same loop, with the same warcio, over ``conversion`` records: an iterator is what Curator has a user write for a
format of their own. Stages are called one after the other in this process; what Ray would add is left out.

Protocol of ``perf.recall.serve``: a line with a number on standard input, a line of JSON on standard output.
"""

import glob
import json
import resource
import sys
import time
from collections.abc import Iterator

from nemo_curator.stages.text.download import DocumentIterator
from nemo_curator.stages.text.download.base.iterator import DocumentIterateExtractStage
from nemo_curator.stages.text.filters import Filter, Score
from nemo_curator.stages.text.filters.fasttext import FastTextQualityFilter
from nemo_curator.tasks import FileGroupTask
from warcio.archiveiterator import ArchiveIterator


class WetIterator(DocumentIterator):
    """Pages of a WET file: ``url``, ``text``."""

    def iterate(self, file_path: str) -> Iterator[dict[str, str]]:
        """In the file's order."""
        with open(file_path, "rb") as stream:
            for record in ArchiveIterator(stream):
                if record.rec_type == "conversion":
                    text = record.content_stream().read().decode("utf-8", errors="replace")
                    yield {"url": record.rec_headers.get_header("WARC-Target-URI"), "text": text}

    def output_columns(self) -> list[str]:
        """What an item holds."""
        return ["url", "text"]


def main(work: str, threshold: float) -> None:
    """Pages that the model scores at or above ``threshold``; predict adds 1e-5 to a probability."""
    (file,) = glob.glob(f"{work}/*.warc.wet.gz")
    task = FileGroupTask(dataset_name="wet", data=[file])
    score = Score(FastTextQualityFilter(f"{work}/model.bin", label="__label__positive"), score_field="score")
    score.setup()  # loads the model before anything is timed
    stages = [DocumentIterateExtractStage(WetIterator()), score, Filter(lambda s: s >= threshold + 1e-5, "score")]
    for line in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            batch = task
            for stage in stages:
                batch = stage.process(batch)
        told = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - used, "result": len(batch.data)}
        told["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    # What the libraries print is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    main(sys.argv[2], float(sys.argv[3]))
