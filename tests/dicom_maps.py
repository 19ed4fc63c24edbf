"""Maps whose value at a point follows from where the point lies in the patient, and the sources that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom

from perfmap.io.dicom_out_header import DerivedMap
from perfmap.io.dicom_source import LPS_TO_RAS, DicomSource, Kind, SliceSource
from perfmap.series import Volume
from tests.dicom_factory import Edit, Scan, oblique_affine, write_classic, write_enhanced, write_mosaic

SHAPE = (14, 10, 4)  # columns, rows, slices
KINDS: tuple[Kind, ...] = ("classic", "mosaic", "enhanced")
_WAYS: dict[str, Callable[[], np.ndarray]] = {
    "axial": lambda: oblique_affine(SHAPE),
    "sagittal-oblique": lambda: oblique_affine(SHAPE, plane="sagittal", angles=(7.0, -4.0, 11.0)),
    "coronal": lambda: oblique_affine(SHAPE, plane="coronal", angles=(12.0, 0.0, 3.0)),
    "flipped": lambda: oblique_affine(SHAPE, feet_first=True) @ np.diag([-1.0, -1.0, 1.0, 1.0]),
    "tilted": lambda: _sheared(oblique_affine(SHAPE, angles=(15.0, 0.0, 0.0))),
}
ORIENTATIONS = tuple(_WAYS)
# A mosaic's slices are stacked along the slice normal by definition: no tilt.
CASES = [(kind, way) for kind in KINDS for way in ORIENTATIONS if (kind, way) != ("mosaic", "tilted")]


def scan_of(way: str, **options: object) -> Scan:
    """Three volumes of a source that lies that way."""
    signal = np.random.default_rng(1).uniform(50, 900, (*SHAPE, 3)).round()
    return Scan(signal, _WAYS[way](), **options)  # type: ignore[arg-type]


def _sheared(affine: np.ndarray) -> np.ndarray:
    """Slices that move along their columns from one to the next, as under a tilted gantry."""
    sheared = affine.copy()
    sheared[:3, 2] += 0.4 * affine[:3, 1]
    return sheared


def written_source(scan: Scan, kind: Kind, folder: Path, *, edit: Edit | None = None) -> DicomSource:
    """Write the scan and describe its first volume, slices in the factory's order."""
    n_slices = scan.shape[2]
    if kind == "classic":
        paths = write_classic(scan, folder, edit=edit)
    elif kind == "mosaic":
        paths = write_mosaic(scan, folder, edit=edit)
    else:
        paths = [write_enhanced(scan, folder / "enhanced.dcm", edit=edit)]
    files = paths[:n_slices] if kind == "classic" else paths[:1] * n_slices
    first = pydicom.dcmread(files[0], stop_before_pixels=True)
    lps = LPS_TO_RAS @ scan.affine
    corners = [tuple(float(v) for v in (lps @ [0, 0, k, 1])[:3]) for k in range(n_slices)]
    spacing = np.linalg.norm(lps[:3, :2], axis=0)
    cosines = [float(v) for v in (lps[:3, :2] / spacing).T.ravel()]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    slices = tuple(
        SliceSource(
            path=path,
            frame=k + 1 if kind == "enhanced" else None,
            sop_instance_uid=str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID),
            position=corners[k],  # type: ignore[arg-type]
        )
        for k, path in enumerate(files)
    )
    return DicomSource(
        kind=kind,
        study_instance_uid=str(first.StudyInstanceUID),
        series_instance_uids=(str(first.SeriesInstanceUID),),
        frame_of_reference_uid=str(first.FrameOfReferenceUID),
        sop_class_uid=str(first.SOPClassUID),
        slices=slices,
        orientation=tuple(cosines),  # type: ignore[arg-type]
        pixel_spacing=(float(spacing[1]), float(spacing[0])),
        rows=scan.shape[1],
        columns=scan.shape[0],
        sop_instance_uids=tuple(sorted(str(header.SOPInstanceUID) for header in headers)),
        lossy=str(first.get("LossyImageCompression", "00")) == "01",
    )


def value_at(ras: np.ndarray) -> np.ndarray:
    """The value that every map has at a point. Shape (..., 3) to (...)."""
    return 2.6 + ras @ np.array([0.011, 0.023, -0.017])


def map_of(scan: Scan, *, method: str = "network", identity: str = "model") -> DerivedMap:
    """The map on the scan's grid, turned to the axes nearest to RAS+ as perfmap has it inside; corners unread."""
    indices = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    values = value_at(indices @ scan.affine[:3, :3].T + scan.affine[:3, 3])
    valid = np.ones(SHAPE, dtype=bool)
    valid[:3, :2], valid[-1, -1] = False, False
    brain = valid.copy()
    brain[:2, :2] = True  # of the brain, and yet without a reading
    turned = [
        nib.as_closest_canonical(nib.Nifti1Image(array.astype(np.float32), scan.affine))
        for array in (values, valid, brain)
    ]
    arrays = [np.asarray(image.dataobj) for image in turned]
    return DerivedMap(
        volume=Volume(arrays[0], turned[0].affine, "nrcbv"),
        valid=arrays[1] > 0.5,
        brain=arrays[2] > 0.5,
        folder="nrcbv" if method == "network" else "nrcbv-conventional",
        method=method,
        algorithm="unet-gru" if method == "network" else "first-pass",
        derivation="How it was made. Research use only.",
        identity=identity,
    )


def other_source(source: DicomSource) -> DicomSource:
    """The same slices from other objects."""
    return replace(source, sop_instance_uids=("1.2.3", *source.sop_instance_uids))
