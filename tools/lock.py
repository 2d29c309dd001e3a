"""Derives requirements/*.lock from pyproject.toml; `make lock` runs it, `make lock UPGRADE=1` renews every pin.

One resolution covers everything, so that the files agree, and is then dealt out: build.lock (pip and the build
backend), core.lock, llm-cpu.lock, ray.lock and dev.lock hold what each adds to the ones before. torch.lock is apart and
without hashes because each index builds its own CPU wheel.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
PLATFORM = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
HEADER = "# Written by tools/lock.py from pyproject.toml; change that file and run `make lock`.\n"

Pins = dict[str, str]


def pins_of(text: str) -> Pins:
    """Requirement blocks (pin and its hash lines) by package name."""
    blocks = re.findall(r"^[a-z0-9].*(?:\n .*)*", text, flags=re.MULTILINE)
    return {re.split(r"[=\[]", block, maxsplit=1)[0]: block for block in blocks}


def resolve(*options: str, keep: str = "") -> Pins:
    """What uv resolves pyproject.toml to with ``options``, keeping the pins of ``keep`` where they still fit."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pins.txt"
        out.write_text(keep, encoding="utf-8")
        command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", *PLATFORM, *options]
        subprocess.run([*command, "--output-file", str(out)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return pins_of(out.read_text(encoding="utf-8"))


def write(name: str, blocks: list[str]) -> None:
    """One lock file, sorted by package."""
    (LOCKS / f"{name}.lock").write_text(HEADER + "\n".join(blocks) + "\n", encoding="utf-8")
    print(f"requirements/{name}.lock: {len(blocks)} packages")


def main(upgrade: bool) -> None:
    """Resolve once with hashes, then deal the pins out to the files."""
    LOCKS.mkdir(exist_ok=True)
    keep = "" if upgrade else "\n".join(path.read_text(encoding="utf-8") for path in LOCKS.glob("*.lock"))
    everything = ("pyproject.toml", "--extra", "llm-cpu", "--extra", "cluster", "--extra", "dev")
    build = resolve("--group", "build", "--generate-hashes", keep=keep)
    pinned = resolve(*everything, "--generate-hashes", keep=keep)
    text = "\n".join(pinned.values())
    core = resolve("pyproject.toml", keep=text)
    llm = resolve("pyproject.toml", "--extra", "llm-cpu", keep=text)
    ray = resolve("pyproject.toml", "--extra", "llm-cpu", "--extra", "cluster", keep=text)
    write("build", [build[name] for name in sorted(build)])
    write("core", [pinned[name] for name in sorted(core)])
    write("llm-cpu", [pinned[name] for name in sorted(llm.keys() - core.keys() - {"torch"})])
    write("ray", [pinned[name] for name in sorted(ray.keys() - llm.keys())])
    write("torch", [pinned["torch"].split(maxsplit=1)[0]])
    write("dev", [pinned[name] for name in sorted(pinned.keys() - ray.keys())])


if __name__ == "__main__":
    main(upgrade="--upgrade" in sys.argv[1:])
