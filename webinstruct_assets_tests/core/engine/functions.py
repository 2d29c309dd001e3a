"""Functions over work units that fail in every way, for tests of the engines."""

import os
import signal
import time
from pathlib import Path

import polars as pl

from webinstruct_assets.core.errors import MissingInput
from webinstruct_assets.core.stage import Reject, Unit

SCHEMA = {"id": pl.String(), "parent_id": pl.String(), "n": pl.Int64()}


def squares(name: str) -> Unit:
    """Rows, rejects, counts and side files of both kinds."""
    number = int(name)
    return Unit(
        rows=[{"id": f"nn-{name}-{n}", "parent_id": "", "n": n * n} for n in range(number)],
        rejects=[Reject(f"nn-{name}-x", "", "odd", "why")] if number % 2 else [],
        rows_in=number + number % 2,
        counts={"seen": number},
        files={f"table-{name}.parquet": pl.DataFrame({"n": [number]}), f"notes-{name}.txt": name.encode()},
    )


def logged_squares(log: Path, name: str) -> Unit:
    with log.open("a") as stream:
        stream.write(f"{name}\n")
    return squares(name)


def dead_file(broken: Path, log: Path, name: str) -> Unit:
    """While ``broken`` exists, unit 2 misses its input and unit 4 has a bug."""
    unit = logged_squares(log, name)
    if broken.exists() and name == "2":
        raise MissingInput("crawl/2.warc.gz does not exist", "fetch the file")
    if broken.exists() and name == "4":
        raise ZeroDivisionError("a bug")
    return unit


def dies(log: Path, times: int, name: str) -> Unit:
    """Kills its process ``times`` times at unit 3, as the kernel does where memory runs out."""
    unit = logged_squares(log, name)
    if name == "3" and log.read_text().splitlines().count("3") <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return unit


def threads(name: str) -> Unit:
    """How many threads polars has here."""
    return Unit(rows=[], rows_in=0, counts={"polars": pl.thread_pool_size(), "pid": os.getpid()})


def sleeps(log: Path, name: str) -> Unit:
    with log.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    time.sleep(60)
    return squares(name)


def reads(part: Path, note: Path, name: str) -> Unit:
    """Reads a part of an input and a file that the stage left in its scratch folder; counts by the disk they are on."""
    time.sleep(0.2)
    rows = pl.read_parquet(part).height
    row = {"id": f"nn-{name}", "parent_id": "", "n": rows + int(note.read_text())}
    return Unit(rows=[row], rows_in=1, counts={f"node-{os.stat(part).st_dev}": 1})
