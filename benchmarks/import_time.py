"""What importing cnnkit costs beside importing torch, each in a fresh process.

    python benchmarks/import_time.py --rounds 11

The statements are timed inside the process, so that starting Python does not count. The sides run
in turn, in an order that turns round from round to round; medians and the median of the paired
differences are printed. The first round warms the file cache and is not counted.
"""

import argparse
import statistics
import subprocess
import sys

TORCH = "import torch"
STATEMENTS = [
    TORCH,
    "import cnnkit",
    "import torch, cnnkit",
    "from cnnkit import Classifier, data, models, train",
    "import torch, torchvision",
]
MOST = 0.2  # seconds that cnnkit may cost on top of torch


def seconds(statement: str) -> float:
    """How long a statement takes in a fresh process."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Time the statements and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for number in range(args.rounds + 1):
        for statement in STATEMENTS if number % 2 else STATEMENTS[::-1]:
            one = seconds(statement)
            if number:
                times[statement].append(one)

    print(f"medians of {args.rounds} fresh processes; differences paired with {TORCH!r}")
    for statement, taken in times.items():
        more = statistics.median(t - base for t, base in zip(taken, times[TORCH], strict=True))
        verdict = f"at most {MOST} s" if more <= MOST else f"MORE than {MOST} s"
        print(f"  {statement:52} {statistics.median(taken):6.3f} s  {more:+.3f} s", end="")
        print(f"  {verdict}" if "cnnkit" in statement else "")


if __name__ == "__main__":
    main()
