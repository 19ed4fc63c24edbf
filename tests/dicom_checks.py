"""What is asked of maps in DICOM, wherever their source lies and however it is stored: each check asserts.

The values of the maps (`tests.dicom_maps`) follow from the position in the patient, so that a pixel in the wrong place
has the wrong value. `benchmarks/dicom_matrix.py` asks the same of every source and prints the table of docs/pacs.md.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from perfmap.io.dicom_out import write_objects
from perfmap.io.dicom_out_header import DerivedMap
from perfmap.report.figures import colours_for
from tests.dicom_maps import value_at


def pixel_positions(image: Dataset, position: object = None) -> np.ndarray:
    """RAS+ mm of each pixel, from the header alone. Shape (rows, columns, 3)."""
    first = np.asarray(image.ImagePositionPatient if position is None else position, dtype=float)
    along_row, along_column = np.reshape(np.asarray(image.ImageOrientationPatient, dtype=float), (2, 3))
    rows, columns = np.indices((image.Rows, image.Columns))
    lps = (
        first
        + columns[..., None] * float(image.PixelSpacing[1]) * along_row
        + rows[..., None] * float(image.PixelSpacing[0]) * along_column
    )
    return lps * np.array([-1.0, -1.0, 1.0])


def check_mr(images: Sequence[Dataset], made: DerivedMap) -> None:
    """Values equal those at the points where the headers put them, to half a step."""
    n_read = 0
    for image in images:
        stored = image.pixel_array
        read = stored != image.PixelPaddingValue
        values = stored * float(image.RescaleSlope) + float(image.RescaleIntercept)
        truth = value_at(pixel_positions(image))
        assert np.abs(values - truth)[read].max() <= 0.5 * float(image.RescaleSlope) + 1e-6
        n_read += int(read.sum())
    assert n_read == made.valid.sum()


def check_pm(floats: Dataset, made: DerivedMap) -> None:
    """The same for the frames of a Parametric Map, each by its own position."""
    shared = floats.SharedFunctionalGroupsSequence[0]
    flat = Dataset()
    flat.Rows, flat.Columns = floats.Rows, floats.Columns
    flat.update(shared.PlaneOrientationSequence[0])
    flat.update(shared.PixelMeasuresSequence[0])
    n_read = 0
    for frame, values in zip(floats.PerFrameFunctionalGroupsSequence, floats.pixel_array, strict=True):
        read = values > floats.FloatPixelPaddingValue
        truth = value_at(pixel_positions(flat, frame.PlanePositionSequence[0].ImagePositionPatient))
        assert np.allclose(values[read], truth[read], atol=2e-5)
        n_read += int(read.sum())
    assert n_read == made.valid.sum()


def check_sc(captures: Sequence[Dataset], measured: Sequence[Dataset]) -> None:
    """Each enlarged pixel lies on that of the measured map, in the same frame of reference, in its value's colour."""
    colours, n_right, n_read = colours_for((0.0, 5.0)), 0, 0
    for capture, image in zip(captures, measured, strict=True):
        assert capture.FrameOfReferenceUID == image.FrameOfReferenceUID
        rows, columns = image.Rows, image.Columns
        enlarged = round(float(image.PixelSpacing[0]) / float(capture.PixelSpacing[0]))
        height, width = rows * enlarged, columns * enlarged
        small, large = pixel_positions(capture), pixel_positions(image)
        blocks = small[:height, :width].reshape(rows, enlarged, columns, enlarged, 3).mean(axis=(1, 3))
        assert np.allclose(blocks, large, atol=1e-4)
        read = image.pixel_array != image.PixelPaddingValue
        within = slice(enlarged // 3, None, enlarged)
        painted = capture.pixel_array[:height, :width][within, within].astype(float)
        wanted = 255 * colours(np.clip(value_at(large) / 5.0, 0.0, 1.0))[..., :3]
        n_right += int((np.abs(painted - wanted).max(axis=-1)[read] <= 1.5).sum())
        n_read += int(read.sum())
    assert n_right >= 0.97 * n_read > 0  # letters that name the sides cover the rest


def check_simpleitk(images: Sequence[Dataset], made: DerivedMap, folder: Path) -> None:
    """SimpleITK reads the same values at the same points."""
    paths = write_objects(iter(images), folder)
    assert len(paths) == len(images)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    itk = reader.Execute()
    padding = float(images[0].PixelPaddingValue) * float(images[0].RescaleSlope)
    n_read = 0
    for index in np.ndindex(*itk.GetSize()):
        place = tuple(int(i) for i in index)
        point = np.array(itk.TransformIndexToPhysicalPoint(place))
        if abs(itk[place] - padding) > 1e-5:
            assert abs(itk[place] - value_at(point * [-1, -1, 1])) <= 0.0005 + 1e-4
            n_read += 1
    assert n_read == made.valid.sum()


def check_dcm2niix(folder: Path, made: DerivedMap, out: Path) -> None:
    """dcm2niix makes a NIfTI of them that holds the same values at the same points."""
    out.mkdir(exist_ok=True)
    command = [dcm2niix.bin, "-z", "n", "-f", "back", "-o", str(out), str(folder)]
    converted = subprocess.run(command, capture_output=True, text=True)
    assert converted.returncode == 0, converted.stdout
    (back,) = out.glob("back*.nii")
    image = nib.load(back)
    values = image.get_fdata()
    indices = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), axis=-1)
    truth = value_at(indices @ image.affine[:3, :3].T + image.affine[:3, 3])
    near = np.abs(values - truth) <= 0.0005 + 1e-3
    assert near.sum() == made.valid.sum()
    assert np.allclose(values[~near], values.min())


def errors_of(path: Path) -> set[str]:
    """What dciodvfy calls an error in a file."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    assert any(re.search(r"Image|ParametricMap", line) for line in lines), "dciodvfy named no IOD"
    return {line for line in lines if line.startswith("Error")}


def check_valid(images: Sequence[Dataset], source: Path, folder: Path) -> None:
    """dciodvfy finds no error that the source does not have."""
    known = errors_of(source)
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        path = folder / f"{number}.out"
        image.save_as(path, enforce_file_format=True)
        assert errors_of(path) <= known, f"{image.SOPClassUID.name}: {errors_of(path) - known}"
