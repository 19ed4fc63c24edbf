"""How fast an export is scanned, and in how much memory: files a second over a tree of 50,000.

    python benchmarks/dicom_scan.py --files 50000

One study is written with the attributes of a scanner's headers, then copied under other UIDs until the tree is large:
studies of 12 series in nested folders, one file in ten no DICOM at all. Wall time and processor time are printed, since
the first depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from perfmap.io.dicom_scan import scan_export
from tests.dicom_factory import Scan, oblique_affine, write_classic


def make_tree(root: Path, n_files: int) -> None:
    """Series of 1,200 images, the UIDs of each written over those of the first."""
    first = Scan(np.random.default_rng(0).integers(0, 900, (64, 64, 20, 60)), oblique_affine((64, 64, 20)))
    model = write_classic(first, root / "study-0" / "series-0")
    contents = [path.read_bytes() for path in model]
    uid = first_uid(contents[0])
    n_written, number = len(contents), 0
    while n_written < n_files:
        number += 1
        folder = root / f"study-{number // 12}" / f"series-{number % 12}"
        folder.mkdir(parents=True, exist_ok=True)
        other = uid[:-6] + f"{number:06d}".encode()
        for index, content in enumerate(contents[: n_files - n_written]):
            body = b"%PDF-1.4" + bytes(2000) if index % 10 == 9 else content.replace(uid, other)
            (folder / f"IM{index:05d}").write_bytes(body)
        n_written += min(len(contents), n_files - n_written)


def first_uid(content: bytes) -> bytes:
    """SeriesInstanceUID of a file, as it stands in it."""
    start = content.index(b"\x20\x00\x0e\x00UI") + 8
    return content[start : start + 64].split(b"\0")[0][:64]


def main() -> None:
    """Make the tree, scan it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, help="where the tree is made; a temporary folder if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        if not any(root.iterdir() if root.exists() else ()):
            make_tree(root, options.files)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, processor = time.perf_counter(), time.process_time()
        found = scan_export(root)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_frames = sum(len(series.frames) for series in found.series)
    print(f"{found.n_files} files, {len(found.series)} series, {n_frames} images kept, left: {found.left}")
    print(f"wall {wall:.1f} s, {found.n_files / wall:.0f} files/s")
    print(f"processor {processor:.1f} s, {found.n_files / processor:.0f} files/s")
    print(f"memory: peak {after / 1024:.0f} MB, of which the scan {(after - before) / 1024:.0f} MB")


if __name__ == "__main__":
    main()
