"""Partitions built by the stages' own runner in a process of its own, to be killed:

    python -m webinstruct_assets_tests.crashes.program HOME ENGINE LOG ASSET/PARTITION…

LOG gets a line when a partition begins and one when it is published: ``begin ASSET/PARTITION seconds``.
"""

import sys
import time
from pathlib import Path

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import BY_ASSET
from webinstruct_assets_tests.core.engine.program import with_engine


def main(home: str, engine: str, log: str, *names: str) -> None:
    """Builds ``names`` in their order."""
    ws = with_engine(Workspace.open(Path(home)), engine)

    def tell(word: str, name: str) -> None:
        with Path(log).open("a") as stream:
            stream.write(f"{word} {name} {time.monotonic()}\n")

    for name in names:
        asset, _, key = name.partition("/")
        stage = BY_ASSET[asset]
        tell("begin", name)
        execute(stage, PartitionKey.parse(stage.dimensions, key), ws, log=lambda line: None, run_id="test")
        tell("end", name)


if __name__ == "__main__":
    main(*sys.argv[1:])
