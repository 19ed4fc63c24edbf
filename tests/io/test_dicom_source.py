from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perfmap.errors import InputError
from perfmap.io.dicom_source import ras_affine, source_from_folder
from tests.dicom_factory import PATIENT_ID, Scan, oblique_affine, write_classic


def scan(plane: str = "axial", **options: object) -> Scan:
    signal = np.arange(6 * 4 * 3 * 2, dtype=float).reshape(6, 4, 3, 2)
    affine = oblique_affine((6, 4, 3), plane=plane, angles=(8.0, -5.0, 20.0))
    return Scan(signal, affine, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_slices_lie_where_they_were_acquired(tmp_path: Path, plane: str) -> None:
    truth = scan(plane)
    write_classic(truth, tmp_path)
    source = source_from_folder(tmp_path)
    # Sorted along the normal, so perhaps from the other end than they were written.
    corner = source.affine @ [0, 0, 0, 1]
    first, last = truth.affine @ [0, 0, 0, 1], truth.affine @ [0, 0, 2, 1]
    assert np.allclose(corner, first, atol=1e-4) or np.allclose(corner, last, atol=1e-4)
    assert np.allclose(source.affine[:3, :2], truth.affine[:3, :2], atol=1e-4)
    assert len(source.slices) == 3
    assert len(source.sop_instance_uids) == 6


def test_one_volume_is_referred_to_not_all(tmp_path: Path) -> None:
    write_classic(scan(vendor="ge"), tmp_path)
    source = source_from_folder(tmp_path)
    assert {source.header(k).TriggerTime for k in range(3)} == {0}
    assert source.header().PatientID == PATIENT_ID
    assert "PixelData" not in source.header()
    assert [str(source.header(k).SOPInstanceUID) for k in range(3)] == [
        piece.sop_instance_uid for piece in source.slices
    ]


def test_two_series_in_one_folder_are_not_guessed_about(tmp_path: Path) -> None:
    write_classic(scan(), tmp_path)
    write_classic(scan(series="other"), tmp_path, suffix="")
    with pytest.raises(InputError, match="2 series"):
        source_from_folder(tmp_path)


def test_source_whose_files_went_away_is_a_refusal(tmp_path: Path) -> None:
    paths = write_classic(scan(), tmp_path)
    source = source_from_folder(tmp_path)
    for path in paths:
        path.unlink()
    with pytest.raises(InputError, match="keep the export"):
        source.header()


def test_gantry_like_shear_survives_in_the_affine() -> None:
    positions = [(0.0, 1.0 * k, 5.0 * k) for k in range(4)]
    affine = ras_affine(positions, (1, 0, 0, 0, 1, 0), (2.0, 3.0), thickness=5.0)
    assert np.allclose(affine @ [1, 1, 3, 1], [-3.0, -2.0 - 3.0, 15.0, 1.0])
