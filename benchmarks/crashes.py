"""What is lost when a training run is killed, interrupted, cut or out of disk: a table.

    python benchmarks/crashes.py

A small run (dropout, augmentation, one-cycle, momentum, two batches a step, two workers, and a
checkpoint after every step) is trained once undisturbed. Then it is disturbed at a random moment
and gone on with, again and again; weights, history and report are compared bit for bit. It forks,
so it needs Linux or macOS, and trains on one thread.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cnnkit import data, models, train
from cnnkit.data import augment

LIMIT = 60  # seconds that a run may take before it counts as hung


def run(folder: Path) -> dict[str, Any]:
    """Train to the end, from the beginning or from what is in the folder."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (90, 1, 12, 12), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (90,), generator=generator)
    split = data.train_val_split(data.ArrayDataset(images, labels), val=0.2)
    flips = [augment.RandomFlip(), augment.RandomTranslate(2)]
    loaders = data.make_loaders(split, 7, augment=flips, device="cpu", num_workers=2)
    torch.manual_seed(3)
    model = models.TwoLayerCNN(3, image_size=12, dropout=0.3)
    history = train.fit(
        model,
        loaders.train,
        loaders.val,
        epochs=4,
        lr=0.05,
        optimizer="momentum",
        scheduler="one_cycle",
        accumulate=2,
        checkpoint_dir=folder,
        checkpoint_every=1,
        resume="auto",
        progress=False,
    )
    rows = [{name: row[name] for name in row if name != "seconds"} for row in history.rows]
    report = train.evaluate(model, loaders.val).to_dict()
    return {
        "rows": rows,
        "report": report,
        "weights": model.state_dict(),
        "why": history.stop_reason,
    }


def forked(work: Callable[[], object], *, after: Callable[[int], object] = int) -> int:
    """Run in a child process; its exit status. `after` is called with its number meanwhile."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(LIMIT)
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    after(pid)
    return os.waitpid(pid, 0)[1]


def finished(folder: Path) -> dict[str, Any] | None:
    """Go on with the run in another process; what it ended with, or None where it failed."""
    out = folder.with_suffix(".out")
    if forked(lambda: torch.save(run(folder), out)) != 0:
        return None
    found: dict[str, Any] = torch.load(out, weights_only=True)
    return found


def equal(one: dict[str, Any] | None, other: dict[str, Any]) -> bool:
    """Whether weights, history, report and the reason of the end are the same, bit for bit."""
    if one is None:
        return False
    same = all(
        torch.equal(one["weights"][name], other["weights"][name]) for name in other["weights"]
    )
    return same and all(one[name] == other[name] for name in ("rows", "report", "why"))


def signalled(number: int, seconds: float) -> Callable[[Path, random.Random], bool]:
    """Send a signal at a random moment; whether the run was still going."""

    def disturb(folder: Path, chance: random.Random) -> bool:
        def send(pid: int) -> None:
            time.sleep(chance.uniform(0.05, seconds))
            os.kill(pid, number)

        before = len(list(folder.glob("*.pt"))) if folder.is_dir() else 0
        status = forked(lambda: run(folder), after=send)
        return os.WIFSIGNALED(status) or len(list(folder.glob("*.pt"))) >= before

    return disturb


def cut(folder: Path, chance: random.Random) -> bool:
    """Kill a run, then cut its newest checkpoint anywhere."""
    signalled(signal.SIGKILL, 1.0)(folder, chance)
    files = sorted(folder.glob("epoch-*.pt"), key=lambda path: path.stat().st_mtime_ns)
    if len(files) < 2:
        return False  # killed before there were two
    with files[-1].open("rb+") as stream:
        stream.truncate(chance.randrange(files[-1].stat().st_size))
    return True


def filled(folder: Path, chance: random.Random) -> bool:
    """Let no file grow beyond a random size that a checkpoint needs, as a full disk would."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (chance.randrange(1, 20_000),) * 2)
        run(folder)

    forked(work)
    return True


def main() -> None:
    """Disturb in every way, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=50, help="of each disturbance")
    times = parser.parse_args().times
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        run(Path(scratch) / "warm")
        started = time.perf_counter()
        undisturbed = run(Path(scratch) / "undisturbed")
        seconds = time.perf_counter() - started
        ways = {
            "killed (SIGKILL) at a random moment": signalled(signal.SIGKILL, seconds),
            "Ctrl-C (SIGINT)": signalled(signal.SIGINT, seconds),
            "SIGTERM": signalled(signal.SIGTERM, seconds),
            "killed, and the newest checkpoint cut at a random byte": cut,
            "no room for a checkpoint, then room again": filled,
        }
        print("| what happened | times | ended as the undisturbed run, bit for bit | lost |")
        print("| --- | --- | --- | --- |")
        for number, (name, disturb) in enumerate(ways.items()):
            chance, count, right = random.Random(number), 0, 0
            for attempt in range(times):
                folder = Path(scratch) / f"{number}-{attempt}"
                if disturb(folder, chance):
                    count += 1
                    right += equal(finished(folder), undisturbed)
            lost = "nothing" if right == count else f"{count - right} RUNS DIFFER"
            print(f"| {name} | {count} | {right} | {lost} |", flush=True)


if __name__ == "__main__":
    main()
