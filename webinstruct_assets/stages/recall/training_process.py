"""fastText training in a process of its own: ``python -m …training_process '{"input": …, "output": …, …}'``.

With one thread, fastText 0.9.2 initialises only the first tenth of its input matrix (``DenseMatrix::uniform`` runs block 0
of 10; measured: 10 % of the rows are not zero, with ten threads all) and leaves the rest as the allocator gave it. Where
memory was used before, that is garbage: models differ between runs, or training ends in "Encountered NaN" (seen: 9 of 25
trainings in one process, some of them on pages sorted by label). The caller starts this process with
``MALLOC_PERTURB_=255``, which makes glibc hand out zeros, so a model depends on pages and parameters alone. More threads
would initialise more of it and make the updates race.
"""

import json
import sys
import time
from typing import Any


def main(arguments: dict[str, Any]) -> int:
    """Trains and saves, and prints the CPU seconds it took; prints fastText's error, and returns 1, when it diverges.

    fastText itself says on stderr how far it is (verbose=2).
    """
    import fasttext

    output = arguments.pop("output")
    try:
        model = fasttext.train_supervised(**arguments, thread=1, verbose=2)
    except (RuntimeError, ValueError) as error:
        print(error)
        return 1
    model.save_model(output)
    print(time.process_time())
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
