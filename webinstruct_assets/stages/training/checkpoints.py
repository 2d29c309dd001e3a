"""The trainer's own checkpoints: which one a training resumes from."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path


def last_checkpoint(folder: Path, on_log: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint in ``folder``; damaged ones are named in the log and removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        problem = damage(path)
        if problem is None:
            return path
        on_log(f"{path.name} is left out, it is damaged: {problem}")
        shutil.rmtree(path)
    return None


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, None where nothing is.

    Its state is written last, so one without it was cut short by a kill. Of safetensors the sizes are compared with
    the header, of torch's files (zip archives) every checksum: bits that flipped in safetensors are not noticed.
    """
    from safetensors import SafetensorError, safe_open

    try:
        int(json.loads((checkpoint / "trainer_state.json").read_text())["global_step"])
    except (OSError, ValueError, KeyError) as error:
        return f"trainer_state.json: {type(error).__name__}"
    for path in sorted(checkpoint.rglob("*")):
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, "np"):
                    pass
            elif path.suffix in (".pt", ".pth"):
                with zipfile.ZipFile(path) as archive:
                    if broken := archive.testzip():
                        return f"{path.name}: {broken}"
        except (OSError, SafetensorError, zipfile.BadZipFile) as error:
            return f"{path.name}: {error}"
    return None
