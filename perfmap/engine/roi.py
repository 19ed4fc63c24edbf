"""Read a map inside of a region: mean with its interval, shares above thresholds, volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perfmap.errors import InputError
from perfmap.io.nifti import read_volume
from perfmap.io.sidecar import image_stem, read_sidecar
from perfmap.metrics import sd_of_mean
from perfmap.preprocess.pipeline import Validity
from perfmap.series import Volume

THRESHOLDS = (1.0, 1.75)
"""Values of nrCBV above which shares of the region are given; no threshold is a diagnosis."""
_MOST_LABELS = 8
COVER = 1.96
"""Standard deviations to either side of the mean of a 95 % interval."""


@dataclass(frozen=True)
class RegionReading:
    """What a map says about a region.

    Attributes
    ----------
    n_voxels, n_without_reading : int
        Voxels of the region, and those of them that the map has no reading of; they count in nothing else.
    volume_ml : float
        Of the voxels with a reading.
    mean, sd_of_voxels : float
        Over these, unit of the map; how much voxels differ from one another, not how uncertain the mean is.
    above : dict of float to float
        Share of these above each threshold; empty for a map whose sidecar names another quantity than nrCBV.
    interval : tuple of float or None
        95 % interval of the mean; None where no standard deviation is known.
    notes : tuple of str
        What a reader must know.
    """

    n_voxels: int
    n_without_reading: int
    volume_ml: float
    mean: float
    sd_of_voxels: float
    above: dict[float, float]
    interval: tuple[float, float] | None
    notes: tuple[str, ...] = ()


def read_region(
    map_path: Path, mask_path: Path, *, labels: Sequence[int] = ()
) -> tuple[RegionReading, dict[str, Any]]:
    """Read a map inside of a mask, with ``<map>_sd``, ``<map>_validity`` and the sidecar where they stand beside it.

    Parameters
    ----------
    map_path, mask_path : Path
        On one grid; the mask holds 0 and one label or more.
    labels : sequence of int
        Which labels make the region; all above 0 if empty.

    Returns
    -------
    RegionReading
    dict
        The map's sidecar; empty where there is none.

    Raises
    ------
    InputError
        If a file cannot be read, the grids differ, or the region holds no reading.
    """
    _refuse_companion(map_path)
    image = read_volume(map_path)
    mask, notes = _read_mask(mask_path, image, labels)
    sd, validity = (_beside(map_path, name, image) for name in ("sd", "validity"))
    sidecar = read_sidecar(map_path)
    values, has_reading = image.array, np.isfinite(image.array)
    if validity is not None:
        has_reading = has_reading & (np.rint(validity) == Validity.VALID)
    elif sd is not None:
        has_reading = has_reading & (sd > 0)
    elif n_zero := int((mask & (values == 0)).sum()):
        notes.append(
            f"{n_zero} voxels of the region are exactly 0 and counted as readings; a map written with --validity or "
            "--nan says which lie outside of the brain"
        )
    if "Quantity" not in sidecar:
        notes.append("no sidecar says what the map shows: it is read as nrCBV")
    uncertainty = (sidecar.get("Model") or {}).get("Uncertainty") or {}
    length = uncertainty.get("correlation_length_mm")
    if sd is None:
        mend = "; predict with --uncertainty" if uncertainty else ""
        notes.append(f"no {image_stem(map_path)}_sd beside the map: no interval{mend}")
    elif length is None:
        notes.append("the map's sidecar says no correlation length: no interval")
        sd = None
    edges = np.linalg.norm(image.affine[:3, :3], axis=0)
    reading = region_reading(
        np.asarray(values, dtype=np.float64),
        mask,
        has_reading,
        sd,
        voxel_size=(float(edges[0]), float(edges[1]), float(edges[2])),
        correlation_length=float(length or 0.0),
        thresholds=THRESHOLDS if sidecar.get("Quantity", "nrcbv") == "nrcbv" else (),
        notes=tuple(notes),
    )
    return reading, sidecar


def region_reading(
    values: NDArray[np.floating],
    mask: NDArray[np.bool_],
    has_reading: NDArray[np.bool_],
    sd: NDArray[np.floating] | None,
    *,
    voxel_size: tuple[float, float, float],
    correlation_length: float,
    thresholds: tuple[float, ...] = THRESHOLDS,
    notes: tuple[str, ...] = (),
) -> RegionReading:
    """Read a map inside of a region.

    Parameters
    ----------
    values : ndarray, shape (x, y, z)
        The map.
    mask, has_reading : ndarray of bool, shape (x, y, z)
        The region, and the voxels that the map knows something of.
    sd : ndarray, shape (x, y, z), or None
        Standard deviation of each voxel, unit of the map.
    voxel_size : tuple of float
        Edge lengths, mm.
    correlation_length : float
        Of the errors, mm; see `perfmap.metrics.sd_of_mean`.
    thresholds : tuple of float
        Values above which the share of the region is wanted, unit of the map.
    notes : tuple of str
        Kept in the reading.

    Raises
    ------
    InputError
        If no voxel of the region has a reading.
    """
    region = mask & has_reading
    n_voxels, n_read = int(mask.sum()), int(region.sum())
    if n_read == 0:
        raise InputError(f"the map has no reading in any of the region's {n_voxels} voxels; check the mask")
    found = np.asarray(values[region], dtype=np.float64)
    mean, interval = float(found.mean()), None
    if sd is not None:
        (box,) = ndimage.find_objects(region.astype(np.uint8))
        spread = COVER * sd_of_mean(
            sd[box], region[box], voxel_size=voxel_size, correlation_length=correlation_length
        )
        interval = (mean - spread, mean + spread)
    return RegionReading(
        n_voxels=n_voxels,
        n_without_reading=n_voxels - n_read,
        volume_ml=n_read * float(np.prod(voxel_size)) / 1000.0,
        mean=mean,
        sd_of_voxels=float(found.std()),
        above={threshold: float((found > threshold).mean()) for threshold in thresholds},
        interval=interval,
        notes=notes,
    )


def _read_mask(path: Path, like: Volume, labels: Sequence[int]) -> tuple[NDArray[np.bool_], list[str]]:
    """The region, and a note where labels were joined that nobody named."""
    values = np.nan_to_num(np.asarray(read_volume(path, like=like).array, dtype=np.float32))
    whole = np.rint(values)
    if not np.allclose(values, whole, atol=1e-3):
        odd = float(values[np.abs(values - whole) > 1e-3][0])
        raise InputError(
            f"mask {path} holds {odd:g}; wanted whole numbers, 0 outside of the region: threshold it first"
        )
    held = [int(label) for label in np.unique(whole[whole > 0])]
    if not held:
        raise InputError(f"mask {path} is empty; wanted voxels above 0 in the region")
    missing = [label for label in labels if label not in held]
    if missing:
        raise InputError(f"mask {path} has no label {missing[0]}; it has {_listed(held)}")
    notes = (
        [f"the region joins labels {_listed(held)} of the mask; --label takes some of them"]
        if len(held) > 1 and not labels
        else []
    )
    return np.isin(whole, labels or held), notes


def _listed(labels: Sequence[int]) -> str:
    shown = ", ".join(str(label) for label in labels[:_MOST_LABELS])
    return shown if len(labels) <= _MOST_LABELS else f"{shown} and {len(labels) - _MOST_LABELS} more"


def _refuse_companion(map_path: Path) -> None:
    """A map's standard deviation and validity lie beside it and are easily named in its place."""
    stem, _, kind = image_stem(map_path).rpartition("_")
    if kind in ("sd", "validity"):
        for suffix in (".nii.gz", ".nii"):
            if (own := map_path.with_name(stem + suffix)).is_file():
                raise InputError(f"{map_path} is not a map but what lies beside {own}; give {own}")


def _beside(map_path: Path, name: str, like: Volume) -> NDArray[np.float32] | None:
    """The map of that name beside another one; None where there is none."""
    for suffix in (".nii.gz", ".nii"):
        path = map_path.with_name(f"{image_stem(map_path)}_{name}{suffix}")
        if path.is_file():
            return np.asarray(read_volume(path, like=like).array, dtype=np.float32)
    return None
