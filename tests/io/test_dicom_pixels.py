"""Pixels of single frames."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from perfmap.errors import InputError
from perfmap.io.dicom_pixels import read_pixels
from perfmap.io.dicom_scan import scan_export
from tests.dicom_factory import Scan, oblique_affine, write_classic


def test_an_image_that_is_no_single_grey_picture_is_refused(tmp_path: Path) -> None:
    """A header that says two numbers a pixel would make a mosaic be cut at the wrong places."""
    signal = np.random.default_rng(0).integers(0, 900, (8, 6, 1, 1)).astype(float)
    write_classic(Scan(signal, oblique_affine((8, 6, 1))), tmp_path)
    (frame,) = scan_export(tmp_path).series[0].frames
    assert next(read_pixels([frame])).shape == (6, 8)
    file = next(path for path in tmp_path.rglob("*") if path.is_file())
    data = pydicom.dcmread(file)
    data.NumberOfFrames, data.PixelData = 2, data.PixelData * 2
    data.save_as(file)
    with pytest.raises(InputError, match="not one picture in grey"):
        next(read_pixels([frame]))
