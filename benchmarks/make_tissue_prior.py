"""Make perfmap/io/tissue_prior.npz from the ICBM152 2009a tissue maps that ship inside nilearn.

Run: python benchmarks/make_tissue_prior.py perfmap/io/tissue_prior.npz
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from scipy import ndimage

STEP = 4  # mm
SMOOTHING = 1.7  # mm, standard deviation: half of a step
CLOSING = 6  # mm; sulci and ventricles belong to the brain


def main(target: Path) -> None:
    """Average the maps to 4 mm and pack them: grey matter, white matter, fluid, each 0–255."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nilearn import datasets

        grey_image = datasets.load_mni152_gm_template(resolution=1)
        white_image = datasets.load_mni152_wm_template(resolution=1)
        brain_image = datasets.load_mni152_brain_mask(resolution=1)
    grey, white = grey_image.get_fdata(), white_image.get_fdata()
    closed = ndimage.binary_closing(brain_image.get_fdata() > 0, iterations=CLOSING)
    brain = ndimage.binary_fill_holes(closed)
    fluid = np.clip(1 - grey - white, 0, 1)
    start = STEP // 2
    tissue = np.stack(
        [
            ndimage.gaussian_filter((part * brain).astype(np.float32), SMOOTHING)[
                start::STEP, start::STEP, start::STEP
            ]
            for part in (grey, white, fluid)
        ],
        axis=-1,
    )
    affine = grey_image.affine
    packed = np.round(255 * np.clip(tissue, 0, 1)).astype(np.uint8)
    origin = affine[:3, :3] @ np.full(3, float(start)) + affine[:3, 3]
    np.savez_compressed(target, tissue=packed, origin=origin, step=np.float64(STEP))
    print(f"{target}: {packed.shape}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
