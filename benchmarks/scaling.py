"""What a second process brings on one machine: two with a thread each, against one with one or two.

    python benchmarks/scaling.py

Each run is a process group of its own, started as `torchrun` starts it, and trains SixConvCIFAR for
an epoch of a few batches of noise after an epoch that warms up. The three are run in turn, as many
times as `--rounds` says; medians of the ratios are printed, and the largest memory that a process
took.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from cnnkit import data, distributed, models, train

SIDES = {  # (processes, threads of each)
    "one process, one thread": (1, 1),
    "one process, two threads": (1, 2),
    "two processes, one thread each": (2, 1),
}


def trained(samples: int, batch: int) -> dict[str, float]:
    """Seconds of the second epoch, and the most memory of this process, in MiB."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, 3, 32, 32), dtype=torch.uint8, generator=generator)
    ds = data.ArrayDataset(images, torch.randint(0, 10, (samples,), generator=generator))
    loader = data.make_loader(ds, batch, shuffle=True, device="cpu")
    torch.manual_seed(0)
    history = train.fit(models.SixConvCIFAR(10), loader, epochs=2, lr=0.01, progress=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on a Mac, KiB elsewhere
    mib = peak / (1024**2 if sys.platform == "darwin" else 1024)
    return {
        "seconds": history.rows[-1]["seconds"],
        "loss": history.rows[-1]["train_loss"],
        "MiB": mib,
    }


def run(processes: int, threads: int, samples: int, batch: int) -> dict[str, float]:
    """One run of so many processes; the memory is that of the one that took most."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        free.close()
        result = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--samples", str(samples), "--batch", str(batch)]
        started = [
            subprocess.Popen(
                [*command, "--write", str(result)],
                env={
                    **os.environ,
                    **address,
                    "RANK": str(number),
                    "LOCAL_RANK": str(number),
                    "WORLD_SIZE": str(processes),
                    "LOCAL_WORLD_SIZE": str(processes),
                    "OMP_NUM_THREADS": str(threads),
                },
            )
            for number in range(processes)
        ]
        if [process for process in started if process.wait()]:
            raise SystemExit("a process failed: its message is above")
        written: dict[str, float] = json.loads(result.read_text("utf-8"))
        return written


def main() -> None:
    """Run the three in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=1280)
    parser.add_argument("--batch", type=int, default=128, help="of all processes together")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write is not None:
        own = distributed.gather(trained(args.samples, args.batch))
        if distributed.is_main():
            most = {"MiB": max(one["MiB"] for one in own)}
            args.write.write_text(json.dumps({**own[0], **most}), "utf-8")
        return
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    for number in range(args.rounds):
        for name in list(SIDES) if number % 2 else list(SIDES)[::-1]:
            taken[name].append(run(*SIDES[name], args.samples, args.batch))
    reference = taken["one process, two threads"]
    print(
        f"SixConvCIFAR, {args.samples} images in batches of {args.batch}, torch {torch.__version__}"
    )
    for name, runs in taken.items():
        ratios = [one["seconds"] / two["seconds"] for one, two in zip(runs, reference, strict=True)]
        seconds = statistics.median(one["seconds"] for one in runs)
        print(
            f"  {name:32} {seconds:6.2f} s an epoch   {statistics.median(ratios):.2f} of one with "
            f"two threads ({min(ratios):.2f} to {max(ratios):.2f})   loss {runs[0]['loss']:.5f}   "
            f"{max(one['MiB'] for one in runs):.0f} MiB a process"
        )


if __name__ == "__main__":
    main()
