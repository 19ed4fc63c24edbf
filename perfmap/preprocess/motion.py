"""Rigid motion between the volumes of a series: measured quickly, corrected only where it is worth it.

Every resampling blurs, so a series that lies still is left alone. Motion is found by `MotionScreen`, a fit to first
order that is repeated on the moved volumes. Mutual information (Mattes et al. 2003, doi 10.1109/TMI.2003.809072) was
tried first: during the bolus it took the unequal loss of signal for motion and made maps worse than no correction;
see docs/decisions/0002-motion.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from perfmap.errors import ConfigError, InputError
from perfmap.preprocess.mask import threshold_otsu
from perfmap.preprocess.motion_screen import FEW_SLICES, MotionScreen, displacement, rigid_transform
from perfmap.preprocess.slices import slice_axis
from perfmap.series import FloatArray

sitk: Any = SimpleITK  # half of its functions carry no types

MODES = ("auto", "on", "off")
THRESHOLD = 1.2
"""Displacement, mm, above which ``auto`` registers. On 92 simulated series in which nothing moves the quick look finds
0.2 mm in the median and 0.49 mm at most (``benchmarks/motion.py``), and at least 2.9 mm in ``moving``."""

_N_THREADS = 1
_PADDED_SLICES = 5


@dataclass(frozen=True)
class MotionReport:
    """How the head moved, and what was done about it.

    Attributes
    ----------
    parameters : ndarray, float64, shape (t, 6)
        Rotation about x, y, z (°) and translation along x, y, z (mm) that take the baseline's position to that of
        each volume; about the middle of the field of view, in the axes of the array.
    displacement : ndarray, float64, shape (t,)
        Root mean square over the head of how far its points have moved, mm.
    corrected : bool
        Whether the volumes were resampled onto the baseline's position.
    in_plane_only : bool
        Too few slices to tell motion through them: only rotation and translation within the slice.
    threshold : float or None
        Displacement above which the registration was to be done, mm; None where it was asked for or ruled out.
    """

    parameters: NDArray[np.float64]
    displacement: NDArray[np.float64]
    corrected: bool
    in_plane_only: bool
    threshold: float | None = None

    @property
    def max_displacement(self) -> float:
        """Largest displacement of any volume, mm."""
        return float(self.displacement.max())


def estimate_displacement(
    signal: FloatArray,
    *,
    voxel_size: tuple[float, float, float],
    baseline: slice,
    spikes: Sequence[int] = (),
) -> MotionReport:
    """Measure how far the head moved, quickly and to first order, on shrunk volumes; see `MotionScreen`.

    Parameters
    ----------
    signal : ndarray, float32, shape (x, y, z, t)
        Signal, arbitrary unit. Slices may lie across any axis: it is the one with the longest voxel edge.
    voxel_size : tuple of float
        Edge lengths of a voxel along x, y and z, mm.
    baseline : slice
        Steady volumes before the bolus (`Bolus.baseline`); their mean is what all volumes are compared with.
    spikes : sequence of int
        Volumes that jump out in brightness (`Bolus.spikes`): they have not moved, but look as if; they are taken to lie
        between their neighbours.

    Returns
    -------
    MotionReport
        With ``corrected=False``.

    Raises
    ------
    InputError
        If the series is not 4D, is flat, or the baseline holds no volume.
    """
    problem = _Problem.of(signal, voxel_size, baseline, spikes)
    screen = MotionScreen.of(problem.fixed, problem.head, voxel_size=voxel_size)
    found = np.stack([screen.fit(signal[..., t]) for t in range(signal.shape[3])])
    found = _without_bolus(_between(_steady(found, baseline), spikes), problem.drop(baseline, spikes))
    return problem.report(found, corrected=False)


def correct_motion(
    signal: FloatArray,
    *,
    voxel_size: tuple[float, float, float],
    baseline: slice,
    spikes: Sequence[int] = (),
    mode: str = "auto",
    threshold: float = THRESHOLD,
    in_place: bool = False,
) -> tuple[FloatArray, MotionReport | None]:
    """Bring every volume to the position of the baseline.

    Parameters
    ----------
    signal, voxel_size, baseline, spikes
        As in `estimate_displacement`.
    mode : str
        ``"auto"``: only if the largest displacement, quickly measured, exceeds `threshold`; ``"on"``; ``"off"``.
    threshold : float
        mm; read in mode ``"auto"`` alone.
    in_place : bool
        Write into `signal` itself, for series of which two do not fit into memory.

    Returns
    -------
    signal : ndarray, float32, shape (x, y, z, t)
        Resampled with cubic B-splines, nothing below 0; the array given where nothing was done.
    report : MotionReport or None
        None in mode ``"off"``: nothing was measured.

    Raises
    ------
    ConfigError
        If `mode` is unknown.
    InputError
        As in `estimate_displacement`.
    """
    if mode not in MODES:
        raise ConfigError(f"motion correction is {mode!r}, wanted one of {', '.join(MODES)}")
    if mode == "off":
        return signal, None
    if mode == "auto":
        seen = replace(
            estimate_displacement(signal, voxel_size=voxel_size, baseline=baseline, spikes=spikes),
            threshold=threshold,
        )
        if seen.max_displacement <= threshold:
            return signal, seen
    problem = _Problem.of(signal, voxel_size, baseline, spikes)
    screen = MotionScreen.of(problem.fixed, problem.head, voxel_size=voxel_size)
    followed = np.stack([screen.follow(signal[..., t]) for t in range(signal.shape[3])])
    found = _between(_steady(followed, baseline), spikes)
    moved = signal if in_place else np.empty_like(signal)
    for t, row in enumerate(found):
        moved[..., t] = problem.resample(row, signal[..., t])
    report = problem.report(found, corrected=True, threshold=threshold if mode == "auto" else None)
    return moved, report


def _steady(found: NDArray[np.float64], baseline: slice) -> NDArray[np.float64]:
    """Volumes that are not steady yet look different without having moved: they take the first steady one's place."""
    start = range(len(found))[baseline].start
    return np.where(np.arange(len(found))[:, None] < start, found[start], found)


def _between(values: NDArray[np.float64], spikes: Sequence[int]) -> NDArray[np.float64]:
    """Values over time (axis 0) with those of some volumes taken from a straight line between their neighbours."""
    sound = np.setdiff1d(np.arange(len(values)), spikes)
    if len(sound) in (0, len(values)):
        return values
    columns = values.reshape(len(values), -1).T
    mended = [np.interp(np.arange(len(values)), sound, column[sound]) for column in columns]
    return np.stack(mended, axis=-1).reshape(values.shape)


def _without_bolus(found: NDArray[np.float64], drop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Parameters (t, 6) without the part that comes and goes with the bolus.

    Where a lesion or a thin stack loses signal unevenly, the bolus itself looks like a little motion, in step with
    the head's mean drop. Its size is the slope of the least absolute deviations between the steps from volume to
    volume: a head that jumps, or wanders, does not follow the bolus from step to step, and is left as it is.
    """
    weight = np.diff(drop)
    slopes = np.diff(found, axis=0) / np.where(weight == 0, 1.0, weight)[:, None]
    return found - drop[:, None] * np.array([_weighted_median(one, np.abs(weight)) for one in slopes.T])


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The value with half of the weight on either side; 0 if there is no weight."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(share, 0.5 * share[-1])]) if share[-1] > 0 else 0.0


def _finite_mean(values: FloatArray) -> float:
    """Mean of the values that are finite; 0 if none is."""
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else 0.0


@dataclass(frozen=True)
class _Problem:
    """A series ready for registration. Parameters are ITK's inside: rotations in rad, then mm."""

    signal: FloatArray
    voxel_size: tuple[float, float, float]
    fixed: FloatArray
    head: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        signal: FloatArray,
        voxel_size: tuple[float, float, float],
        baseline: slice,
        spikes: Sequence[int] = (),
    ) -> _Problem:
        if signal.ndim != 4:
            raise InputError(f"signal has shape {signal.shape}, wanted four axes (x, y, z, t)")
        steady = range(signal.shape[3])[baseline]
        if not steady:
            raise InputError(
                f"baseline {baseline} selects none of {signal.shape[3]} volumes, wanted at least one"
            )
        sound = [t for t in steady if t not in spikes]
        at_rest = signal[..., sound] if 0 < len(sound) < len(steady) else signal[..., baseline]
        fixed = np.nan_to_num(at_rest.mean(axis=3), posinf=0, neginf=0).astype(np.float32)
        if fixed.max() <= fixed.min():
            raise InputError(
                "the mean of the baseline is flat, wanted an image of a head: check file and scaling"
            )
        head = fixed > 0.5 * threshold_otsu(np.minimum(fixed, np.percentile(fixed, 98)))
        return cls(signal, voxel_size, fixed, head)

    @property
    def across(self) -> int:
        """Axis across the slices."""
        return slice_axis(np.diag([*self.voxel_size, 1.0]))

    @property
    def in_plane_only(self) -> bool:
        return self.signal.shape[self.across] < FEW_SLICES

    def drop(self, baseline: slice, spikes: Sequence[int] = ()) -> NDArray[np.float64]:
        """Share of its signal that the head has lost in each volume, shape (t,); 0 before the first steady one."""
        level = np.array([_finite_mean(self.signal[..., t][self.head]) for t in range(self.signal.shape[3])])
        level = _between(level, spikes)
        rest = float(level[baseline].mean())
        drop = 1.0 - level / rest if rest > 0 else np.zeros_like(level)
        return np.where(np.arange(len(drop)) < range(len(drop))[baseline].start, 0.0, drop)

    def resample(self, parameters: NDArray[np.float64], volume: FloatArray) -> FloatArray:
        """A volume brought back by its parameters, with cubic B-splines, nothing below 0."""
        resampler = sitk.ResampleImageFilter()
        resampler.SetReferenceImage(self.image(self.fixed))
        resampler.SetInterpolator(sitk.sitkBSpline)
        resampler.SetUseNearestNeighborExtrapolator(True)
        resampler.SetNumberOfThreads(_N_THREADS)
        resampler.SetTransform(rigid_transform(parameters))
        nx, ny, nz = volume.shape
        array = sitk.GetArrayFromImage(resampler.Execute(self.image(volume))).T[:nx, :ny, :nz]
        return np.maximum(array, np.float32(0))

    def image(self, volume: FloatArray) -> Any:
        """ITK image with the origin in the middle of the field of view; few slices are repeated outwards."""
        if self.in_plane_only:
            padding = [(0, 0)] * 3
            padding[self.across] = (0, max(_PADDED_SLICES - volume.shape[self.across], 0))
            volume = np.pad(volume, padding, mode="edge")
        image = sitk.GetImageFromArray(np.ascontiguousarray(volume.T.astype(np.float32, copy=False)))
        image.SetSpacing(self.voxel_size)
        image.SetOrigin(
            [-0.5 * (n - 1) * edge for n, edge in zip(volume.shape, self.voxel_size, strict=True)]
        )
        return image

    def report(
        self, parameters: NDArray[np.float64], *, corrected: bool, threshold: float | None = None
    ) -> MotionReport:
        places = np.argwhere(self.head)
        places = places[:: max(1, len(places) // 2000)]
        points = (places - (np.array(self.head.shape) - 1) / 2) * np.array(self.voxel_size)
        return MotionReport(
            parameters=np.hstack([np.degrees(parameters[:, :3]), parameters[:, 3:]]),
            displacement=np.array([displacement(row, points) for row in parameters]),
            corrected=corrected,
            in_plane_only=self.in_plane_only,
            threshold=threshold,
        )
