"""How long the code location takes to load, against importing Dagster alone (goal: at most 2.5 s).

python -m perf.load_time [runs]
"""

import statistics
import subprocess
import sys
import time


def seconds(code: str) -> float:
    """Wall-clock seconds of a fresh interpreter running ``code``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(runs: int) -> None:
    """Interleaved runs, medians with their range."""
    cases = {
        "dagster alone": "import dagster",
        "webinstruct definitions": "import webinstruct_assets.definitions",
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(runs):
        for name, code in cases.items():
            times[name].append(seconds(code))
    for name, values in times.items():
        print(
            f"{name:<24} median {statistics.median(values):.2f} s  ({min(values):.2f} to {max(values):.2f}, {runs} runs)"
        )
    alone, ours = (statistics.median(values) for values in times.values())
    print(f"ratio {ours / alone:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
