"""Rigid motion between the volumes of a series: measured cheaply, corrected only where it is worth it.

Every resampling blurs, so a series that lies still is left alone. Mutual information is the measure throughout
(Mattes et al. 2003, doi 10.1109/TMI.2003.809072): the bolus changes the intensities, and differently in every
tissue, so a difference of intensities would take the bolus for motion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from perfmap.errors import ConfigError, InputError
from perfmap.preprocess.mask import threshold_otsu
from perfmap.preprocess.motion_screen import screen_motion
from perfmap.preprocess.slices import slice_axis
from perfmap.series import FloatArray

sitk: Any = SimpleITK  # half of its functions carry no types

MODES = ("auto", "on", "off")
THRESHOLD = 1.0
"""Displacement, mm, above which ``auto`` registers. On simulated series the quick look finds at most 0.7 mm where
nothing moves (the bolus itself looks like a little motion) and at least 2.9 mm in the regime ``moving``."""

_N_BINS = 40
_SAMPLING = 0.2  # share of the voxels that the measure looks at …
_MIN_SAMPLES = 40_000  # … or as many voxels as this, where the volume is small
_SEED = 20190421
_N_THREADS = 1
_FEW_SLICES = 4  # below this many slices only motion within the slice can be told
_PADDED_SLICES = 5
_FINEST = 1.5  # mm; registration gains nothing from voxels smaller than this in an EPI series
_LEVEL_SIGMA = {2: 1.0, 1: 0.5}  # smoothing of the two levels, in voxels
_STEP = 0.02  # mm; results are rounded to this, below which the optimiser's path is chance
_LEVELS = 4096  # grey levels that registration sees: a factor on the signal then changes nothing
_HEAD_RADIUS = 65.0  # mm; weighs rotations against translations


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
    signal: FloatArray, *, voxel_size: tuple[float, float, float], baseline: slice
) -> MotionReport:
    """Measure how far the head moved, quickly and to first order, on shrunk volumes; see `screen_motion`.

    Parameters
    ----------
    signal : ndarray, float32, shape (x, y, z, t)
        Signal, arbitrary unit. Slices may lie across any axis: it is the one with the longest voxel edge.
    voxel_size : tuple of float
        Edge lengths of a voxel along x, y and z, mm.
    baseline : slice
        Steady volumes before the bolus (`Bolus.baseline`); their mean is what all volumes are compared with.

    Returns
    -------
    MotionReport
        With ``corrected=False``.

    Raises
    ------
    InputError
        If the series is not 4D, is flat, or the baseline holds no volume.
    """
    problem = _Problem.of(signal, voxel_size, baseline)
    found = screen_motion(signal, problem.fixed, problem.head, voxel_size=voxel_size)
    # Volumes that are not steady yet look different without having moved.
    start = range(signal.shape[3])[baseline].start
    found[:start] = found[start]
    return problem.report(found, corrected=False)


def correct_motion(
    signal: FloatArray,
    *,
    voxel_size: tuple[float, float, float],
    baseline: slice,
    mode: str = "auto",
    threshold: float = THRESHOLD,
) -> tuple[FloatArray, MotionReport | None]:
    """Bring every volume to the position of the baseline.

    Parameters
    ----------
    signal, voxel_size, baseline
        As in `estimate_displacement`.
    mode : str
        ``"auto"``: only if the largest displacement, quickly measured, exceeds `threshold`; ``"on"``; ``"off"``.
    threshold : float
        mm; read in mode ``"auto"`` alone.

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
            estimate_displacement(signal, voxel_size=voxel_size, baseline=baseline), threshold=threshold
        )
        if seen.max_displacement <= threshold:
            return signal, seen
    problem = _Problem.of(signal, voxel_size, baseline)
    found = problem.fine(problem.coarse())
    report = problem.report(found, corrected=True, threshold=threshold if mode == "auto" else None)
    return problem.resample(found), report


@dataclass(frozen=True)
class _Problem:
    """A series ready for registration. Parameters are ITK's inside: rotations in rad, then mm."""

    signal: FloatArray
    voxel_size: tuple[float, float, float]
    fixed: FloatArray
    head: NDArray[np.bool_]
    order: list[tuple[int, int | None]]

    @classmethod
    def of(cls, signal: FloatArray, voxel_size: tuple[float, float, float], baseline: slice) -> _Problem:
        if signal.ndim != 4:
            raise InputError(f"signal has shape {signal.shape}, wanted four axes (x, y, z, t)")
        steady = range(signal.shape[3])[baseline]
        if not steady:
            raise InputError(
                f"baseline {baseline} selects none of {signal.shape[3]} volumes, wanted at least one"
            )
        fixed = np.nan_to_num(signal[..., baseline].mean(axis=3), posinf=0, neginf=0).astype(np.float32)
        if fixed.max() <= fixed.min():
            raise InputError(
                "the mean of the baseline is flat, wanted an image of a head: check file and scaling"
            )
        head = fixed > 0.5 * threshold_otsu(np.minimum(fixed, np.percentile(fixed, 98)))
        return cls(signal, voxel_size, fixed, head, _outwards(steady[len(steady) // 2], signal.shape[3]))

    @property
    def across(self) -> int:
        """Axis across the slices."""
        return slice_axis(np.diag([*self.voxel_size, 1.0]))

    @property
    def in_plane_only(self) -> bool:
        return self.signal.shape[self.across] < _FEW_SLICES

    def coarse(self) -> NDArray[np.float64]:
        """Parameters from volumes shrunk by two, each started from its neighbour's. Shape (t, 6)."""
        found = np.zeros((self.signal.shape[3], 6))
        level = _Level.of(self, shrink=2)
        for volume, neighbour in self.order:
            start = found[neighbour] if neighbour is not None else np.zeros(6)
            found[volume] = level.register(self.signal[..., volume], start)
        return found

    def fine(self, coarse: NDArray[np.float64]) -> NDArray[np.float64]:
        """Parameters from full resolution, started from the coarse ones. Shape (t, 6)."""
        level = _Level.of(self, shrink=1)
        found = np.stack([level.register(self.signal[..., t], start) for t, start in enumerate(coarse)])
        step = np.array([_STEP / _HEAD_RADIUS] * 3 + [_STEP] * 3)
        return np.round(found / step) * step

    def resample(self, parameters: NDArray[np.float64]) -> FloatArray:
        moved = np.empty_like(self.signal)
        resampler = sitk.ResampleImageFilter()
        resampler.SetReferenceImage(self.image(self.fixed))
        resampler.SetInterpolator(sitk.sitkBSpline)
        resampler.SetUseNearestNeighborExtrapolator(True)
        resampler.SetNumberOfThreads(_N_THREADS)
        for t, row in enumerate(parameters):
            resampler.SetTransform(_transform(row))
            volume = sitk.GetArrayFromImage(resampler.Execute(self.image(self.signal[..., t])))
            nx, ny, nz = self.fixed.shape
            moved[..., t] = np.maximum(volume.T[:nx, :ny, :nz], 0)
        return moved

    def image(self, volume: FloatArray) -> Any:
        """ITK image with the origin in the middle of the field of view; few slices are repeated outwards."""
        if self.in_plane_only:
            padding = [(0, 0)] * 3
            padding[self.across] = (0, _PADDED_SLICES - volume.shape[self.across])
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
        moved = np.stack([_moved(row, points) for row in parameters])
        return MotionReport(
            parameters=np.hstack([np.degrees(parameters[:, :3]), parameters[:, 3:]]),
            displacement=np.sqrt(((moved - points) ** 2).sum(axis=2).mean(axis=1)),
            corrected=corrected,
            in_plane_only=self.in_plane_only,
            threshold=threshold,
        )


@dataclass(frozen=True)
class _Level:
    """One resolution: the fixed image and its head at that resolution, and how to bring a volume there."""

    problem: _Problem
    factors: list[int]
    sigma: float
    fixed: Any
    head: Any

    @classmethod
    def of(cls, problem: _Problem, *, shrink: int) -> _Level:
        factors = [shrink * max(1, round(_FINEST / edge)) for edge in problem.voxel_size]
        if problem.in_plane_only or max(problem.voxel_size) > 1.5 * np.median(problem.voxel_size):
            factors[problem.across] = 1
        sigma = _LEVEL_SIGMA[shrink] * float(np.median(problem.voxel_size))
        head = sitk.Shrink(problem.image(problem.head.astype(np.float32)), factors) > 0.5
        return cls(problem, factors, sigma, _at_level(problem, problem.fixed, factors, sigma), head)

    def register(self, volume: FloatArray, start: NDArray[np.float64]) -> NDArray[np.float64]:
        transform = _transform(start)
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(_N_THREADS)
        method.SetMetricAsMattesMutualInformation(_N_BINS)
        method.SetMetricSamplingStrategy(method.RANDOM)
        share = max(_SAMPLING, min(1.0, _MIN_SAMPLES / self.fixed.GetNumberOfPixels()))
        method.SetMetricSamplingPercentage(share, _SEED)
        method.SetMetricFixedMask(self.head)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=0.5, minStep=0.005, numberOfIterations=60, relaxationFactor=0.5
        )
        method.SetOptimizerScales([_HEAD_RADIUS**2] * 3 + [1.0] * 3)
        if self.problem.in_plane_only:
            across = np.arange(3) == self.problem.across
            method.SetOptimizerWeights([float(free) for free in (*across, *~across)])
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(self.fixed, _at_level(self.problem, volume, self.factors, self.sigma))
        return np.array(transform.GetParameters())


def _at_level(problem: _Problem, volume: FloatArray, factors: list[int], sigma: float) -> Any:
    level = _LEVELS / float(np.percentile(problem.fixed[problem.head], 98))
    image = problem.image(np.round(np.nan_to_num(volume, posinf=0, neginf=0) * level))
    return sitk.Shrink(sitk.DiscreteGaussian(image, [sigma**2] * 3), factors)


def _transform(parameters: NDArray[np.float64]) -> Any:
    transform = sitk.Euler3DTransform()
    transform.SetParameters([float(value) for value in parameters])
    return transform


def _moved(parameters: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    transform = _transform(parameters)
    matrix = np.array(transform.GetMatrix()).reshape(3, 3)
    return points @ matrix.T + parameters[3:]


def _outwards(first: int, n_times: int) -> list[tuple[int, int | None]]:
    """Order of work: from `first` to both ends, each volume with the neighbour it starts from."""
    order: list[tuple[int, int | None]] = [(first, None)]
    order += [(t, t - 1) for t in range(first + 1, n_times)]
    return order + [(t, t + 1) for t in range(first - 1, -1, -1)]
