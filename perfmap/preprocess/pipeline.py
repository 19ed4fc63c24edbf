"""From a series to what a network reads: one path, taken by training and by prediction alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perfmap.errors import InputError
from perfmap.models.card import InputContract
from perfmap.physics.bolus import (
    Bolus,
    baseline_signal,
    find_bolus,
    first_pass_integral,
    log_ratio,
    mend_spikes,
    notes_of_spikes,
)
from perfmap.preprocess.features import (
    feature_maps,
    fit_functionals,
    leakage_reference,
    protocol_scalars,
    sample_voxels,
    t1_scalars,
)
from perfmap.preprocess.mask import brain_mask
from perfmap.preprocess.normalize import normalise, series_scale
from perfmap.preprocess.resample import to_matrix
from perfmap.preprocess.slices import slice_axis
from perfmap.preprocess.timegrid import TimeMapping, map_time
from perfmap.series import FloatArray, Series

MAX_NONFINITE = 0.01
"""Share of brain voxels with a value that is not finite, above which a series is refused."""
MAX_NATIVE_MATRIX = 256
"""Larger slices are brought to the network's matrix, whatever their pixels."""
NO_SIGNAL = 0.02
"""A voxel whose baseline is below this share of the brain's median baseline gives no reading."""


class Validity(IntEnum):
    """Why a voxel has a reading or has none."""

    OUTSIDE = 0
    VALID = 1
    NOT_FINITE = 2
    NO_SIGNAL = 3


@dataclass(frozen=True)
class Prepared:
    """A series with everything found in it that a network, or an integral, needs.

    Attributes
    ----------
    series : Series
    inputs : InputContract
    bolus : Bolus
    mean_curve : ndarray, shape (t,)
        Mean signal of the brain.
    baseline : ndarray, float32, shape (x, y, z)
        S0.
    validity : ndarray, uint8, shape (x, y, z)
        Values of `Validity`.
    first_pass : ndarray, float32, shape (x, y, z)
        First-pass integral of −ln(S/S0), s; 0 where there is no reading.
    scale : float
        Its mean over the brain, trimmed: see `series_scale`.
    time_mapping : TimeMapping
    context : ndarray, float32, shape (`perfmap.preprocess.features.context_length`,)
        What a network is told of the series as a whole: which grid points were measured, and where it wants them the
        protocol, the mean curve of tissue that does not leak (zeros where none is found), and what is known of T1.
    leakage_reference : ndarray, shape (t,), or None
        Mean curve of tissue that does not leak, where the network wants the leakage-corrected map.
    functionals : ndarray, shape (t, len(FIT_MAPS)), or None
        From `fit_functionals`, where the network wants them.
    axis : int
        Slice axis.
    notes : tuple of str
        What had to be decided or warned about.
    """

    series: Series
    inputs: InputContract
    bolus: Bolus
    mean_curve: NDArray[np.float64]
    baseline: FloatArray
    validity: NDArray[np.uint8]
    first_pass: FloatArray
    scale: float
    time_mapping: TimeMapping
    context: FloatArray
    leakage_reference: NDArray[np.float64] | None
    functionals: NDArray[np.float64] | None
    axis: int
    notes: tuple[str, ...]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Voxels with a reading."""
        return self.validity == Validity.VALID

    @cached_property
    def brightness(self) -> float:
        """Median baseline of the brain, the series' own unit."""
        return float(np.median(self.baseline[self.mask]))

    @property
    def n_slices(self) -> int:
        """Number of slices along the slice axis."""
        return int(self.baseline.shape[self.axis])


def prepare_series(
    series: Series, inputs: InputContract, *, mask: NDArray[np.bool_] | None = None
) -> Prepared:
    """Find bolus and brain, the series' scale, and the way onto the network's time grid.

    Parameters
    ----------
    series : Series
    inputs : InputContract
        From the checkpoint's card.
    mask : ndarray of bool, shape (x, y, z), optional
        Brain mask; found in the series where it is not given.

    Raises
    ------
    InputError
        If the series holds no usable signal, no bolus, or more than 1 % of the brain is not finite.
    """
    finite = finite_voxels(series)
    _refuse_empty(series, finite)
    if mask is not None and not (mask & finite).any():
        raise InputError("the mask selects no voxel with a signal; check that it belongs to this series")
    voxel_size = tuple(float(edge) for edge in np.linalg.norm(series.affine[:3, :3], axis=0))
    if mask is None:
        rough = rough_head(series, finite)
        bolus = find_bolus(mean_curve(series, rough), time_step=series.time_step)
        baseline = _baseline(series, bolus, finite)
        whole, drop = _mended(series, bolus, baseline, finite)
        mask = brain_mask(whole, voxel_size=(voxel_size[0], voxel_size[1], voxel_size[2]), drop=drop)
    curve = mean_curve(series, mask & finite)
    bolus = find_bolus(curve, time_step=series.time_step)
    baseline = _baseline(series, bolus, finite)
    validity, notes = _validity(mask, finite, baseline)
    axis = slice_axis(series.affine)
    notes += _notes_of_gaps(mask, finite & (baseline > 0), axis)
    first_pass = np.zeros(baseline.shape, dtype=np.float32)
    usable = validity == Validity.VALID
    for k, signal in enumerate(_slices(series, axis)):
        where = np.moveaxis(usable, axis, 0)[k]
        ratio = log_ratio(curves_of(signal, where), bolus)
        np.moveaxis(first_pass, axis, 0)[k][where] = first_pass_integral(
            ratio, bolus, time_step=series.time_step
        )
    time_mapping = map_time(
        inputs,
        n_times=series.n_times,
        time_step=series.time_step,
        arrival=bolus.arrival,
        n_unsteady=bolus.n_unsteady,
    )
    scale = series_scale(first_pass, usable)
    context, reference, functionals = time_mapping.valid, None, None
    if inputs.features == "curves+maps":
        notes += notes_of_spikes(bolus)  # other networks read the curves as they are
        context = np.concatenate([context, protocol_scalars(series, bolus, scale=scale)])
        sample = mend_spikes(log_ratio(curves_of(series.signal, sample_voxels(usable)), bolus), bolus)
        reference = leakage_reference(sample, bolus, time_step=series.time_step)
        if inputs.reference_fit:
            functionals = fit_functionals(sample, reference, bolus, time_step=series.time_step)
    if inputs.reference_curve:
        curve_of_tissue = np.zeros(series.n_times) if reference is None else reference
        gridded = time_mapping(curve_of_tissue[None])
        context = np.concatenate(
            [context, normalise(gridded, np.zeros(1, dtype=np.float32), inputs, scale=scale)[0]]
        )
    if inputs.t1_weighting:
        context = np.concatenate([context, t1_scalars(series)])
    if not inputs.scale_invariant:
        notes.append(
            "this model reads intensities divided by the largest of its training data: "
            "the map depends on the scanner's scaling"
        )
    return Prepared(
        series=series,
        inputs=inputs,
        bolus=bolus,
        mean_curve=curve,
        baseline=baseline,
        validity=validity,
        first_pass=first_pass,
        scale=scale,
        time_mapping=time_mapping,
        context=context,
        leakage_reference=reference,
        functionals=functionals,
        axis=axis,
        notes=tuple(notes),
    )


def network_slice(prepared: Prepared, k: int) -> tuple[FloatArray, FloatArray]:
    """A network's input for slice `k`.

    Returns
    -------
    channels : ndarray, float32, shape (c, h, w)
        The curves' `n_times` points, and the maps of `perfmap.preprocess.features` where the network wants them;
        0 outside of the brain. h = w = `working_matrix`. The channels of a pixel lie side by side in memory.
    coverage : ndarray, float32, shape (h, w)
        Share of each pixel that is brain.
    """
    axis, inputs, bolus = prepared.axis, prepared.inputs, prepared.bolus
    signal = np.moveaxis(prepared.series.signal, axis, 0)[k]
    mask = np.moveaxis(prepared.validity, axis, 0)[k] == Validity.VALID
    baseline = np.moveaxis(prepared.baseline, axis, 0)[k][mask]
    ratio = log_ratio(curves_of(signal, mask), bolus)
    parts = []
    if inputs.features == "curves+maps":
        parts.append(
            feature_maps(
                ratio,
                baseline,
                bolus,
                prepared.leakage_reference,
                time_step=prepared.series.time_step,
                scale=prepared.scale,
                brightness=prepared.brightness,
                functionals=prepared.functionals,
            )
        )
        ratio = mend_spikes(ratio, bolus)
    gridded = prepared.time_mapping(ratio)
    parts.insert(0, normalise(gridded, baseline, inputs, scale=prepared.scale))
    image = np.zeros((*mask.shape, sum(part.shape[1] for part in parts)), dtype=np.float32)
    image[mask] = np.concatenate(parts, axis=1)
    coverage = mask.astype(np.float32)
    edge = working_matrix(prepared)
    if edge == max(mask.shape):  # the series' own matrix: nothing is resampled
        image, coverage = _centred(image, edge), _centred(coverage[..., None], edge)[..., 0]
    else:
        image, coverage = to_matrix(image, mask, edge, inputs.interpolation)
    return np.moveaxis(image, 2, 0), coverage


def _centred(image: FloatArray, edge: int) -> FloatArray:
    """An image of shape (x, y, c) in the middle of a square one, as `to_matrix` places it."""
    if image.shape[:2] == (edge, edge):
        return image
    square = np.zeros((edge, edge, image.shape[2]), dtype=np.float32)
    x, y = ((edge - n) // 2 for n in image.shape[:2])
    square[x : x + image.shape[0], y : y + image.shape[1]] = image
    return square


def working_matrix(prepared: Prepared) -> int:
    """Edge of the square matrix on which the network sees a slice: the series' own, or the contract's."""
    inputs, axis = prepared.inputs, prepared.axis
    edges = np.delete(np.linalg.norm(prepared.series.affine[:3, :3], axis=0), axis)
    extent = int(np.delete(prepared.baseline.shape, axis).max())
    if inputs.native_from is not None and edges.min() >= inputs.native_from and extent <= MAX_NATIVE_MATRIX:
        return extent
    return inputs.matrix


def mean_curve(series: Series, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean signal over a mask, volume by volume, so that no second series is held. Shape (t,)."""
    inside = np.flatnonzero(mask.T)  # in the order in which a file is read, so that memory is read in order
    return np.array(
        [series.signal[..., t].T.reshape(-1)[inside].mean(dtype=np.float64) for t in range(series.n_times)]
    )


def curves_of(signal: FloatArray, mask: NDArray[np.bool_]) -> FloatArray:
    """Curves of the voxels of a mask, ``signal[mask]``, read in the order in which they lie in memory. Shape (n, t)."""
    if signal.strides[-1] == signal.itemsize:  # voxel by voxel
        return signal[mask]
    inside = np.nonzero(mask)
    curves = np.empty((signal.shape[-1], len(inside[0])), dtype=signal.dtype)
    for t, row in enumerate(curves):
        row[:] = signal[..., t][inside]
    return curves.T


def _slices(series: Series, axis: int) -> Iterator[FloatArray]:
    yield from np.moveaxis(series.signal, axis, 0)


def finite_voxels(series: Series) -> NDArray[np.bool_]:
    """Voxels that are finite at all times. Shape (x, y, z)."""
    with np.errstate(
        invalid="ignore"
    ):  # a sum over time is finite where every summand is: float32 cannot overflow it
        return np.asarray(np.isfinite(_total(series)))


def _total(series: Series) -> NDArray[np.float64]:
    """Sum over time, volume by volume. Shape (x, y, z)."""
    total = series.signal[..., 0].astype(np.float64)
    for t in range(1, series.n_times):
        total += series.signal[..., t]
    return total


def _refuse_empty(series: Series, finite: NDArray[np.bool_]) -> None:
    if not finite.any():
        raise InputError("no voxel of the series is finite at all times; export it again")
    low, high = np.inf, -np.inf
    for t in range(series.n_times):
        volume = series.signal[..., t] if finite.all() else series.signal[..., t][finite]
        low, high = min(low, float(volume.min())), max(high, float(volume.max()))
    if low == high:
        raise InputError(f"every voxel of the series is {low:g}: it is constant or empty; export it again")
    if high <= 0:
        raise InputError(
            f"the signal runs from {low:.4g} to {high:.4g}, wanted positive magnitudes; export magnitude images"
        )


def rough_head(series: Series, finite: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels brighter than a third of the head's typical brightness in the mean over time."""
    with np.errstate(invalid="ignore"):
        total = np.where(finite, _total(series), 0).astype(np.float32)
    bright = total > np.percentile(total, 95) / 3
    return np.asarray(bright & finite)


def _baseline(series: Series, bolus: Bolus, finite: NDArray[np.bool_]) -> FloatArray:
    baseline = baseline_signal(series.signal, bolus)
    return np.where(finite, baseline, 0).astype(np.float32)


def _mended(
    series: Series, bolus: Bolus, baseline: FloatArray, finite: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Baseline and depth of the bolus, for finding the brain alone: voxels with bad values look like what they are.

    A bad voxel is judged by its finite values; one that has none, by its nearest neighbour, unless it belongs to a
    background of NaN that reaches the edge of the field of view.
    """
    peak = _finite_mean(series.signal[..., max(bolus.peak - 1, 0) : bolus.peak + 2])
    before = (
        baseline
        if finite.all()
        else np.where(finite, baseline, _finite_mean(series.signal[..., bolus.baseline]))
    )
    holes = ~np.isfinite(before + peak)
    parts, _ = ndimage.label(holes)
    edge = np.ones(holes.shape, dtype=bool)
    edge[1:-1, 1:-1] = False
    enclosed = holes & ~np.isin(parts, np.unique(parts[edge]))
    if enclosed.any():
        nearest = tuple(ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True))
        before = np.where(enclosed, before[nearest], before)
        peak = np.where(enclosed, peak[nearest], peak)
    before, peak = np.nan_to_num(before), np.nan_to_num(peak)
    drop = 1.0 - np.divide(peak, before, out=np.ones_like(before), where=before > 0)
    return before.astype(np.float32), drop.astype(np.float32)


def _finite_mean(signal: FloatArray) -> FloatArray:
    """Mean over time of what is finite, volume by volume; NaN where nothing is."""
    total = np.zeros(signal.shape[:3], dtype=np.float64)
    count = np.zeros(signal.shape[:3], dtype=np.int32)
    for t in range(signal.shape[3]):
        good = np.isfinite(signal[..., t])
        total[good] += signal[..., t][good]
        count += good
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(np.float32)


def _notes_of_gaps(mask: NDArray[np.bool_], lit: NDArray[np.bool_], axis: int) -> list[str]:
    """A note of slices without any signal amid those with brain."""
    others = tuple(other for other in range(3) if other != axis)
    with_brain = np.flatnonzero(np.any(mask, axis=others))
    with_signal = set(np.flatnonzero(np.any(lit, axis=others)).tolist())
    dark = [str(k) for k in range(with_brain[0], with_brain[-1] + 1) if k not in with_signal]
    if not dark:
        return []
    return [
        f"slices without signal amid the brain have no reading: {', '.join(dark)} (counted from 0 at the feet, or from "
        "left or back)"
    ]


def _validity(
    mask: NDArray[np.bool_], finite: NDArray[np.bool_], baseline: FloatArray
) -> tuple[NDArray[np.uint8], list[str]]:
    notes = []
    validity = np.where(mask, Validity.VALID, Validity.OUTSIDE).astype(np.uint8)
    n_bad, n_brain = int((mask & ~finite).sum()), int(mask.sum())
    if n_bad > MAX_NONFINITE * n_brain:
        raise InputError(
            f"{100 * n_bad / n_brain:.1f} % of the brain's voxels hold values that are not finite, "
            f"wanted at most {100 * MAX_NONFINITE:.0f} %; export the series again, or leave them out with --mask"
        )
    n_outside = int((~mask & ~finite).sum())
    if n_outside:
        notes.append(
            f"{n_outside} voxels outside of the brain mask ({100 * n_outside / mask.size:.0f} % of the volume) hold "
            "values that are not finite; if brain is missing from the map, this is why"
        )
    if n_bad:
        notes.append(f"{n_bad} voxels of the brain hold values that are not finite; they have no reading")
        validity[mask & ~finite] = Validity.NOT_FINITE
    dark = mask & finite & ~(baseline > NO_SIGNAL * np.median(baseline[mask & finite]))
    validity[dark] = Validity.NO_SIGNAL
    if not (validity == Validity.VALID).any():
        raise InputError(
            "no voxel of the brain has a positive baseline signal; check the series and the mask"
        )
    return validity, notes
