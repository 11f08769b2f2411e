"""Peak memory and time of getting images into one tensor: image by image, and as `to_array` does.

    python benchmarks/concatenating.py FOLDER --images 400 --size 240

"concatenated" is what the cat article does: each image, decoded, as floats, is concatenated to the
tensor of those before it, there on the GPU. Here it is the memory of a process of its own, less
that of one that has read a few images. FOLDER holds one folder a class.
"""

import argparse
import subprocess
import sys
from pathlib import Path

WORK = {
    "nothing": "",
    "concatenated": """
whole = torch.zeros(0, *ds[0][0].shape)
for i in range(len(ds)):
    whole = torch.cat([whole, ds[i][0][None].float() / 128])
""",
    "to_array": "whole = ds.to_array(progress=False)",
}
CODE = """
import resource, sys, time, torch
from cnnkit.data import ImageFolder
ds = ImageFolder(sys.argv[1], image_size=int(sys.argv[2]))
ds = ds.subset([i % len(ds) for i in range(int(sys.argv[3]))])
ds.subset(range(4)).to_array(progress=False)  # what is made once
started = time.perf_counter()
{work}
seconds = time.perf_counter() - started
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, seconds)
"""


def measure(work: str, arguments: list[str]) -> tuple[float, float]:
    """Peak resident memory in MiB and seconds of a fresh process that does this."""
    command = [sys.executable, "-c", CODE.format(work=WORK[work]), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, seconds = done.stdout.split()
    return int(peak) / 1024, float(seconds)  # kilobytes, on Linux


def main() -> None:
    """Measure both ways."""
    parser = argparse.ArgumentParser(description="Images into one tensor.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=240)
    args = parser.parse_args()
    arguments = [str(args.folder), str(args.size), str(args.images)]
    base, _ = measure("nothing", arguments)
    for work in ("concatenated", "to_array"):
        peak, seconds = measure(work, arguments)
        print(f"{work:12}  {peak - base:7,.0f} MiB  {seconds:6.1f} s")


if __name__ == "__main__":
    main()
