"""Peak memory of reading a folder: streaming it, and turning it into an array.

    python benchmarks/memory.py FOLDER --size 128

Each figure is the peak resident memory of a process of its own, less that of one that only opens
the folder. FOLDER holds one folder a class.
"""

import argparse
import subprocess
import sys
from pathlib import Path

WORK = {
    "open": "",
    "stream": "for batch in make_loader(ds, 64, cache='off', device='cpu'): pass",
    "array": "array = ds.to_array(progress=False)",
}
CODE = """
import resource, sys
from cnnkit.data import ImageFolder, make_loader
ds = ImageFolder(sys.argv[1], image_size=int(sys.argv[2]))
ds = ds.subset([i % len(ds) for i in range(int(sys.argv[3]))])
next(iter(make_loader(ds.subset(range(64)), 64, cache='off', device='cpu')))  # what is made once
{work}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder: Path, size: int, images: int, work: str) -> int:
    """Peak resident memory in bytes of a fresh process that does this."""
    command = [sys.executable, "-c", CODE.format(work=WORK[work]), str(folder), str(size)]
    done = subprocess.run([*command, str(images)], check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024  # kilobytes, on Linux


def main() -> None:
    """Measure with more and more images."""
    parser = argparse.ArgumentParser(description="Peak memory of reading a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, nargs="+", default=[500, 2000, 8000])
    args = parser.parse_args()
    for images in args.images:
        opened = peak(args.folder, args.size, images, "open")
        streamed = peak(args.folder, args.size, images, "stream") - opened
        array = peak(args.folder, args.size, images, "array") - opened
        held = images * 3 * args.size**2
        print(
            f"{images:6} images, an array of {held / 2**20:6.0f} MiB: streaming takes "
            f"{streamed / 2**20:5.0f} MiB, to_array {array / 2**20:6.0f} MiB, "
            f"{array / held:.2f} times the array"
        )


if __name__ == "__main__":
    main()
