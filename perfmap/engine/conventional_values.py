"""How the conventional maps are computed from the voxels inside the brain mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perfmap.engine.conventional_config import FLOW_MAPS, LEAKAGE_METHODS, ConventionalConfig
from perfmap.errors import InputError
from perfmap.physics import deconvolution
from perfmap.physics.arterial import (
    arterial_input_by_clusters,
    arterial_input_by_score,
    rescale_by_venous_output,
    venous_output,
)
from perfmap.physics.bolus import (
    MAX_PASS_DURATION,
    Bolus,
    first_pass_integral,
    log_ratio,
    mend_spikes,
    notes_of_spikes,
)
from perfmap.physics.gamma_variate import fit_gamma_variate
from perfmap.physics.leakage import (
    LeakageFit,
    dual_echo_delta_r2star,
    fit_bidirectional,
    fit_bsw,
    non_enhancing,
)
from perfmap.physics.timing import bolus_arrival_time, time_to_peak
from perfmap.preprocess.brain import Brain, voxel_size
from perfmap.preprocess.white_matter import estimate_white_matter
from perfmap.series import Series, Volume

Floats = NDArray[np.floating]

DECONVOLUTIONS: dict[str, Callable[..., NDArray[np.float32]]] = {
    "ssvd": deconvolution.ssvd,
    "csvd": deconvolution.csvd,
    "osvd": deconvolution.osvd,
    "tikhonov": deconvolution.tikhonov,
}


class Work:
    """One run: the voxels inside the mask as rows, and what is found on the way.

    Attributes
    ----------
    series, config, brain
        What the run started with.
    ratio : ndarray, float32, shape (n, t)
        −ln(S/S0) of the n voxels of the mask. Where there are two echoes: what the later one would show without T1
        effects, or what it does show where that is more (a signal that is extinguished).
    echo_time : float
        Echo time of `ratio`, s; 1 where nobody knows it.
    delta : ndarray, shape (n, t)
        ΔR2*, 1/s.
    k2 : ndarray, shape (n,), or None
        Leakage coefficient, once a leakage correction has run.
    white_matter_level : float or None
        What `nrcbv` was divided by.
    notes : list of str
        What had to be decided.
    """

    def __init__(
        self, series: Series, config: ConventionalConfig, brain: Brain, second_echo: Series | None
    ) -> None:
        self.series, self.config, self.brain = series, config, brain
        self.notes = notes_of_spikes(brain.bolus)
        self.white_matter_level: float | None = None
        self.k2: Floats | None = None
        self.ratio = self._ratio(series)
        self.echo_time = series.echo_time or 1.0
        if series.echo_time is None and config.method != "dual-echo":
            self.notes.append("the echo time is unknown and taken as 1 s: rcbv is ∫−ln(S/S0) dt")
        self.delta: Floats = self.ratio / np.float32(self.echo_time)
        if second_echo is not None:
            later = self._ratio(second_echo)
            self.delta = _dual_echo(series, second_echo, self.ratio, later)
            self.echo_time = second_echo.echo_time or 1.0
            self.ratio = np.maximum(self.delta * self.echo_time, later).astype(np.float32)

    def _ratio(self, series: Series) -> NDArray[np.float32]:
        bolus, mask = self.brain.bolus, self.brain.mask
        return mend_spikes(log_ratio(series.signal[mask], bolus), bolus)

    @property
    def bolus(self) -> Bolus:
        """Of the brain mean."""
        return self.brain.bolus

    @property
    def step(self) -> float:
        """Interval between volumes, s."""
        return self.series.time_step

    @property
    def window_bolus(self) -> Bolus:
        """The bolus with its window moved to the end of the series where the whole series is asked for."""
        full = self.config.chosen_window == "full"
        return replace(self.bolus, end=self.bolus.n_times) if full else self.bolus

    def volume(self, values: Floats, quantity: str) -> Volume:
        """Map of values of the voxels inside the mask; 0 outside."""
        array = np.zeros(self.brain.mask.shape, dtype=np.float32)
        array[self.brain.mask] = values
        return Volume(array, self.series.affine, quantity)


def map_values(
    work: Work, artery: NDArray[np.float64] | None, nawm: NDArray[np.bool_] | None
) -> dict[str, Floats]:
    """Every map that was asked for, as values of the voxels inside the mask."""
    wanted = set(work.config.chosen_maps)
    values: dict[str, Floats] = {}
    if wanted & {"rcbv", "nrcbv", "cbv", "mtt", "k2"}:
        values["rcbv"] = _relative_volume(work)
    if work.k2 is not None:
        values["k2"] = work.k2
    if "nrcbv" in wanted:
        work.white_matter_level = _white_matter_level(work, values["rcbv"], nawm)
        values["nrcbv"] = values["rcbv"] / np.float32(work.white_matter_level)
    if "ttp" in wanted:
        values["ttp"] = time_to_peak(work.delta, work.bolus, time_step=work.step)
    if "bat" in wanted:
        values["bat"] = bolus_arrival_time(work.delta, work.bolus, time_step=work.step)
    if artery is not None:
        values |= _absolute(work, artery, values.get("rcbv"), wanted)
    return values


def _relative_volume(work: Work) -> Floats:
    """∫ΔR2* dt of each voxel by the method asked for, ΔR2*·s."""
    method, bolus = work.config.method, work.window_bolus
    if method == "gamma":
        return _gamma_area(work)
    curves = work.delta
    if method in LEAKAGE_METHODS:
        fit = _leakage_fit(work)
        curves, work.k2 = fit.corrected, fit.k2
    return first_pass_integral(curves, bolus, time_step=work.step)


def _gamma_area(work: Work) -> Floats:
    """Area of the gamma variate; the plain integral where no first pass could be fitted."""
    first = work.bolus.window.start
    last = min(first + round(MAX_PASS_DURATION / work.step) + 2, work.bolus.n_times)
    fit = fit_gamma_variate(work.delta[:, first:last], time_step=work.step)
    plain = first_pass_integral(work.delta, work.bolus, time_step=work.step)
    # A curve whose tail the fit cannot see may run off to any area; twice the plain integral is out of reach
    # for a first pass of which the window holds more than half.
    area = fit.area()
    good = fit.fitted & (area <= 2 * np.abs(plain))
    n_plain = int((~good).sum())
    if n_plain:
        work.notes.append(
            f"{n_plain} of {good.size} voxels could not be fitted by a gamma variate; they have the plain integral"
        )
    return np.where(good, area, plain)


def _leakage_fit(work: Work) -> LeakageFit:
    reference = work.delta[non_enhancing(work.delta, work.bolus)].mean(axis=0, dtype=float)
    # K1 and K2 are always read from all steady volumes, whatever the window of the integral: inside the first
    # pass alone the leakage term is nearly that of a late arrival. Before the steady state there is no agent,
    # and those volumes must not enter the running integral.
    used = slice(work.bolus.n_unsteady, None)
    reference[: work.bolus.n_unsteady] = 0
    fit = fit_bidirectional if work.config.method == "bidirectional" else fit_bsw
    return fit(work.delta, reference, time_step=work.step, window=used)


def _absolute(
    work: Work, artery: NDArray[np.float64], relative: Floats | None, wanted: set[str]
) -> dict[str, Floats]:
    """CBV by the ratio of integrals, and flow by deconvolution from the first steady volume on."""
    values: dict[str, Floats] = {}
    factor = work.config.hematocrit_factor
    if relative is not None:
        area = float(first_pass_integral(artery, work.window_bolus, time_step=work.step))
        if not area > 0:
            raise InputError(
                "the arterial input function has no positive area in the window; choose other voxels"
            )
        values["cbv"] = np.float32(100 * factor / area) * relative
    if wanted & set(FLOW_MAPS):
        steady = slice(work.bolus.n_unsteady, None)
        deconvolve = DECONVOLUTIONS[work.config.method]
        residue = deconvolve(work.delta[:, steady], artery[steady], time_step=work.step)
        values["cbf"] = deconvolution.flow(residue, hematocrit_factor=factor)
        n_times = work.bolus.n_times - work.bolus.n_unsteady
        values["tmax"] = deconvolution.time_to_maximum(residue, n_times=n_times, time_step=work.step)
        if "mtt" in wanted:
            cbf, cbv = values["cbf"], np.maximum(values["cbv"], 0)
            values["mtt"] = 60 * np.divide(cbv, cbf, out=np.zeros_like(cbf), where=cbf > 0)
    return values


def arterial_input(work: Work, aif: ArrayLike | Literal["auto"]) -> NDArray[np.float64]:
    """Arterial input in the unit of ΔR2*: a curve as given, the mean over a mask, or found in the series.

    Parameters
    ----------
    work : Work
    aif : array_like or "auto"
        Shape (t,) or, as a mask, (x, y, z).

    Returns
    -------
    ndarray, shape (t,)

    Raises
    ------
    InputError
        If the curve has another length than the series, the mask is empty, or nothing arterial is found.
    """
    config, n_times = work.config, work.bolus.n_times
    if isinstance(aif, str):
        if config.aif_method == "score":
            found = arterial_input_by_score(work.ratio, work.bolus, time_step=work.step)
        else:
            rng = np.random.default_rng(config.seed)
            found = arterial_input_by_clusters(work.ratio, work.bolus, time_step=work.step, rng=rng)
        curve = np.asarray(work.delta[found.voxels].mean(axis=0, dtype=float))
        work.notes.append(f"arterial input: mean of {found.voxels.size} voxels found by {config.aif_method}")
    elif np.shape(aif) == work.brain.mask.shape:
        chosen = np.asarray(aif, dtype=bool)
        if not chosen.any():
            raise InputError("the arterial mask is empty, wanted at least one voxel; draw it on an artery")
        curve = _mean_over_arteries(work, chosen)
        work.notes.append(f"arterial input: mean of {int(chosen.sum())} voxels of the mask given")
    else:
        curve = np.asarray(aif, dtype=float)
        if curve.shape != (n_times,):
            raise InputError(
                f"the arterial input function has shape {curve.shape}, wanted one value for each of the "
                f"{n_times} volumes; resample it to the series"
            )
        work.notes.append("arterial input: the curve given")
    if config.venous_rescaling:
        venous = venous_output(work.ratio, work.bolus, time_step=work.step)
        window = work.window_bolus.window
        before = float(curve[window].sum())
        scaled = rescale_by_venous_output(curve[window], venous.curve[window] / work.echo_time)
        curve = curve * (float(scaled.sum()) / before)
        work.notes.append(
            f"arterial input scaled by {float(scaled.sum()) / before:.3g} to the area of a vein"
        )
    work.notes.append("absolute values take the relaxivity in the artery to be that in tissue")
    return np.asarray(curve)


def _mean_over_arteries(work: Work, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean ΔR2* over a mask of arteries, which may lie outside of the brain (with two echoes: inside alone)."""
    if work.config.method != "dual-echo":
        ratio = mend_spikes(log_ratio(work.series.signal[chosen], work.bolus), work.bolus)
        return np.asarray(ratio.mean(axis=0, dtype=float) / (work.series.echo_time or 1.0))
    rows = chosen[work.brain.mask]
    if not rows.any():
        raise InputError(
            "the arterial mask lies outside of the brain mask; with two echoes it must be inside"
        )
    return np.asarray(work.delta[rows].mean(axis=0, dtype=float))


def _white_matter_level(work: Work, relative: Floats, nawm: NDArray[np.bool_] | None) -> float:
    """Mean of a map over normal-appearing white matter, given or estimated."""
    brain = work.brain
    full = np.asarray(work.volume(relative, "rcbv").array, dtype=np.float32)
    if nawm is not None:
        return mean_over_nawm(full, nawm & brain.mask)
    plain = first_pass_integral(work.delta, work.bolus, time_step=work.step)
    first_pass = np.asarray(work.volume(plain, "rcbv").array, dtype=np.float32)
    white = estimate_white_matter(
        brain.baseline, first_pass, brain.mask, voxel_size=voxel_size(work.series.affine)
    )
    work.notes.append("white matter was estimated from the series; give --nawm to use a mask of your own")
    return white.level_of(full)


def mean_over_nawm(array: NDArray[np.generic], nawm: NDArray[np.bool_]) -> float:
    """Mean of a map, shape (x, y, z), over a mask of normal-appearing white matter.

    Raises
    ------
    InputError
        If the mask is empty or the mean not positive.
    """
    if not nawm.any():
        raise InputError("the white matter mask holds no brain voxel; check that it belongs to this series")
    level = float(np.asarray(array, dtype=float)[nawm].mean())
    if not level > 0:
        raise InputError(
            f"the mean of the map over the white matter mask is {level:.3g}, wanted a positive number; "
            "check the mask"
        )
    return level


def _dual_echo(first: Series, second: Series, first_ratio: Floats, second_ratio: Floats) -> Floats:
    if first.echo_time is None or second.echo_time is None:
        raise InputError("dual echo wants both echo times, one is unknown; give them in the sidecars")
    return dual_echo_delta_r2star(
        first_ratio, second_ratio, first_echo_time=first.echo_time, second_echo_time=second.echo_time
    )
