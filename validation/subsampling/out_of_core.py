"""Leverage and a sample of a matrix that lies on disk: passes, time and memory.

``python -m validation.subsampling.out_of_core [--quick] [--folder DIR]``

In full 2e7 x 20 numbers, 3.2 GB, are written to DIR (default: a temporary folder) and read there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from math import inf
from pathlib import Path

import numpy as np

from mcstat.study import Claim, ClaimTable

CHILD = """
import os, sys, threading, time
import numpy as np
from mcstat.subsampling import LpSampler

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1e6

peak, done = 0.0, False
def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.02)
thread = threading.Thread(target=watch)
path, size = sys.argv[1], int(sys.argv[2])
matrix = np.load(path, mmap_mode="r")
LpSampler(p=2, n_samples=10, random_state=0).fit(np.random.default_rng(0).normal(size=(1000, 3)))

def forget():
    # Both times begin with a file that is on disk and not in the page cache.
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

forget()
start = time.perf_counter()
for _ in range(2):
    for first in range(0, len(matrix), 65536):
        matrix[first : first + 65536].sum(axis=0)
plain = time.perf_counter() - start
forget()
thread.start()
start = time.perf_counter()
sampler = LpSampler(p=2, score="leverage", n_samples=size, random_state=0).fit(matrix)
ours = time.perf_counter() - start
done = True
thread.join()
print(plain, ours, peak, len(sampler.indices_), sampler.scores_.sum())
"""


def write(path: Path, n_rows: int) -> None:
    """Gaussian rows with a few long ones, block by block."""
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(n_rows, 20))
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, 1 << 17):
        block = rng.standard_normal((min(1 << 17, n_rows - start), 20))
        block[0] *= 100
        matrix[start : start + len(block)] = block
    matrix.flush()


def claims(quick: bool, n_jobs: int = 1, folder: str | None = None) -> ClaimTable:
    """Memory, and time over that of summing the same file twice."""
    n_rows, size = (1_000_000, 10_000) if quick else (20_000_000, 100_000)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "matrix.npy"
        write(path, n_rows)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(path), str(size)], capture_output=True, text=True, check=True
        )
    plain, ours, peak, rows, rank = map(float, done.stdout.split())
    setting, source = f"{n_rows:.0e} x 20 from a memory map, a sample of {rows:.0f} rows", "issue, row 3"
    return ClaimTable(
        [
            Claim(name="peak anonymous memory", setting=setting, source=source, measured=peak, band=(-inf, 1.0),
                  unit="GB"),
            Claim(name="time over reading and summing twice", setting=setting, source=source, measured=ours / plain,
                  band=(-inf, 3.0), unit="times", note=f"{ours:.1f} s against {plain:.1f} s"),
            Claim(name="sum of the scores", setting=setting, source="theory", published="20", measured=rank,
                  band=(20 - 1e-6, 20 + 1e-6)),
        ]
    )  # fmt: skip


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder")
    given = parser.parse_args()
    print(claims(given.quick, folder=given.folder))


if __name__ == "__main__":
    main()
