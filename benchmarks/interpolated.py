"""How far interpolation by the scanner moves a map, computed on the acquired grid and on the stored one.

    python benchmarks/interpolated.py

A simulated head of 64 x 64 pixels is exported as DICOM twice: as it was acquired, and zero-filled to 128 x 128. The
differences are those of the default network's maps at the acquired points of the brain, in nrCBV.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))

from perfmap.engine.export import find_cases, stage, the_case
from perfmap.engine.predict import PredictConfig
from perfmap.engine.predict_file import Done, predict_file
from perfmap.models import DEFAULT_MODEL
from perfmap.models.checkpoint import find_checkpoint, load_checkpoint
from tests.dicom_factory import Scan, oblique_affine, write_classic
from tests.heads import head_series
from tests.interpolated import zero_filled

SHAPE = (64, 64, 4)


def predicted(export: Path, out: Path, grid: str) -> Done:
    """The default network's map of an export."""
    staged = stage(the_case(find_cases(export)), out / "staged")
    checkpoint = load_checkpoint(find_checkpoint(DEFAULT_MODEL))
    config = PredictConfig(grid=grid)  # type: ignore[arg-type]
    return predict_file(staged.nifti, out / "nrcbv.nii.gz", checkpoint, config, source=staged.source)


def main() -> None:
    """Export twice, predict three times, compare."""
    signal = head_series(shape=SHAPE, n_times=40, arrival=18.0, noise=0.01)[0].signal
    affine = oblique_affine(SHAPE, spacing=(3.0, 3.0, 5.0), angles=(8.0, -4.0, 3.0))

    def tell(data: Dataset, t: int, k: int) -> None:
        data.AcquisitionMatrix = [SHAPE[0], 0, 0, SHAPE[1]]

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_classic(Scan(signal.round(), affine), folder / "acquired")
        fine = Scan(zero_filled(signal, 2).round(), affine @ np.diag([0.5, 0.5, 1.0, 1.0]))
        write_classic(fine, folder / "interpolated", edit=tell)
        truth = predicted(folder / "acquired", folder / "a", "acquired").maps["nrcbv"].array
        for grid in ("acquired", "stored"):
            made = predicted(folder / "interpolated", folder / grid, grid).maps["nrcbv"].array
            at_points = made[1::2, 1::2]  # the last voxels of both grids lie in one place
            apart = np.abs(at_points - truth)[truth > 0]
            median, most, largest = np.percentile(apart, [50, 95, 100])
            print(f"--grid {grid}: median {median:.3f}, 95th percentile {most:.3f}, largest {largest:.3f}")


if __name__ == "__main__":
    main()
