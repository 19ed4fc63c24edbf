"""How long it takes to write a map as DICOM: processor seconds and bytes of each form, 20 slices of 128×128.

python benchmarks/dicom_out.py --slices 20 --matrix 128
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from perfmap.io.dicom_out import chosen_forms, write_objects
from perfmap.io.dicom_out_header import DerivedMap
from perfmap.io.dicom_source import source_from_folder
from perfmap.report.dicom import form_objects
from perfmap.series import Volume
from tests.dicom_factory import Scan, oblique_affine, write_classic


def main() -> None:
    """Write each form a few times; print one row a form, the first time apart, as it holds the imports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--matrix", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    shape = (options.matrix, options.matrix, options.slices)
    values = np.random.default_rng(0).gamma(2.0, 0.8, shape).astype(np.float32)
    affine = oblique_affine(shape, spacing=(1.8, 1.8, 5.0))
    inside = np.ones(shape, dtype=bool)
    made = DerivedMap(
        Volume(values, affine, "nrcbv"), inside, inside, "nrcbv", "network", "benchmark", "For timing.", "x"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_classic(Scan(np.full((*shape, 1), 100.0), affine), folder / "in")
        source = source_from_folder(folder / "in")
        print("| form | first, s | median of the others, s | MB |\n|---|---|---|---|")
        for form in chosen_forms(None):
            seconds = []
            for _ in range(options.repeats + 1):
                began = time.process_time()
                write_objects(form_objects(source, made, form), folder / form, overwrite=True)
                seconds.append(time.process_time() - began)
            size = sum(path.stat().st_size for path in (folder / form).iterdir()) / 1e6
            print(f"| {form} | {seconds[0]:.2f} | {np.median(seconds[1:]):.2f} | {size:.1f} |")


if __name__ == "__main__":
    main()
