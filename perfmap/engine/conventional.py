"""The conventional maps: integrals, leakage correction, CaPTk's maps and deconvolution. No file is touched here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from perfmap.engine.conventional_config import FLOW_MAPS, ConventionalConfig, Method, Window, make_config
from perfmap.engine.conventional_values import Work, arterial_input, map_values, mean_over_nawm
from perfmap.errors import ConfigError, InputError
from perfmap.physics.bolus import Bolus, first_pass_integral, log_ratio
from perfmap.physics.captk import captk_maps
from perfmap.preprocess.brain import Brain, find_brain, voxel_size
from perfmap.preprocess.motion import MotionReport, correct_motion
from perfmap.preprocess.one_bolus import OneBolus, one_bolus
from perfmap.preprocess.white_matter import estimate_white_matter
from perfmap.series import Series, Volume

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Conventional:
    """What the conventional engine gives.

    Attributes
    ----------
    maps : dict of Volume
        Maps by quantity, 0 outside of the brain.
    brain : Brain
        Bolus, baseline and mask that were used.
    aif : ndarray, shape (t,), or None
        Arterial input function in the unit of ΔR2*.
    white_matter_level : float or None
        What `nrcbv` was divided by, unit of `rcbv`.
    motion : MotionReport or None
    notes : tuple of str
        What had to be decided, one sentence each.
    boluses : dict or None
        All boluses and the one that was read, where the series holds several.
    """

    maps: dict[str, Volume]
    brain: Brain
    aif: NDArray[np.float64] | None = None
    white_matter_level: float | None = None
    motion: MotionReport | None = None
    notes: tuple[str, ...] = field(default=())
    boluses: dict[str, object] | None = None


def conventional_maps(
    series: Series,
    *,
    method: Method = "firstpass",
    window: Window | None = None,
    maps: tuple[str, ...] = (),
    mask: NDArray[np.bool_] | None = None,
    **options: object,
) -> dict[str, Volume]:
    """Maps of a series; a short way to `conventional` for callers who want nothing else.

    Parameters
    ----------
    series : Series
    method, window, maps
        As in `ConventionalConfig`.
    mask : ndarray of bool, shape (x, y, z), optional
        Brain mask; found where it is not given.
    **options
        Inputs of `conventional` (``aif``, ``nawm``, ``second_echo``) or other settings.

    Returns
    -------
    dict of Volume
    """
    inputs = {name: options.pop(name) for name in ("aif", "nawm", "second_echo") if name in options}
    config = make_config(method=method, window=window, maps=maps, **options)
    return conventional(series, config, mask=mask, **inputs).maps  # type: ignore[arg-type]


def conventional(
    series: Series,
    config: ConventionalConfig,
    *,
    mask: NDArray[np.bool_] | None = None,
    aif: ArrayLike | Literal["auto"] | None = None,
    nawm: NDArray[np.bool_] | None = None,
    second_echo: Series | None = None,
) -> Conventional:
    """Compute conventional perfusion maps of a series.

    Parameters
    ----------
    series : Series
    config : ConventionalConfig
    mask : ndarray of bool, shape (x, y, z), optional
        Brain mask; found where it is not given.
    aif : array_like, optional
        Arterial input: ΔR2* (1/s) of shape (t,), a bool mask of shape (x, y, z) whose voxels are averaged, or
        ``"auto"``. The relaxivity of blood in the artery is taken to be that in tissue.
    nawm : ndarray of bool, shape (x, y, z), optional
        Normal-appearing white matter; estimated where it is not given.
    second_echo : Series, optional
        The later echo, for the method ``dual-echo``. Bolus and brain are looked for in it: a first echo of a few
        milliseconds shows next to no bolus.

    Returns
    -------
    Conventional

    Raises
    ------
    InputError
        If the series, a mask or the arterial input is refused.
    ConfigError
        If inputs and settings do not fit each other.
    """
    with threadpool_limits(1):  # the same bytes, however many threads BLAS could have
        return _conventional(series, config, mask=mask, aif=aif, nawm=nawm, second_echo=second_echo)


def _conventional(
    series: Series,
    config: ConventionalConfig,
    *,
    mask: NDArray[np.bool_] | None = None,
    aif: ArrayLike | Literal["auto"] | None = None,
    nawm: NDArray[np.bool_] | None = None,
    second_echo: Series | None = None,
) -> Conventional:
    _check_inputs(series, config, aif, second_echo, nawm)
    whole = series if second_echo is None else second_echo
    part = one_bolus(whole, config.bolus, mask=mask)
    series, second_echo = part.like(series), None if second_echo is None else part.like(second_echo)
    aif = _arterial_part(aif, part, n_times=whole.n_times)
    brain = find_brain(series if second_echo is None else second_echo, mask=mask, method=config.mask_method)
    moved, motion = correct_motion(
        series.signal,
        voxel_size=voxel_size(series.affine),
        baseline=brain.bolus.baseline,
        spikes=brain.bolus.spikes,
        mode=config.motion_correction,
    )
    if motion is not None and motion.corrected:
        series = replace(series, signal=moved)
        if second_echo is not None:
            second_echo = _still(second_echo, brain.bolus)
        brain = find_brain(
            series if second_echo is None else second_echo, mask=mask, method=config.mask_method
        )
    if config.method == "captk":
        found, notes, level = _captk(series, config, brain, nawm)
        if mask is not None and any(name != "nrcbv" for name in found):
            notes = (*notes, "CaPTk's maps know no brain mask: the one that was given does not cut them")
        return Conventional(
            found, brain, None, level, motion, (*part.notes, *brain.notes, *notes), part.described()
        )
    work = Work(series, config, brain, second_echo)
    wants_flow = bool(set(config.chosen_maps) & {"cbv", *FLOW_MAPS})
    artery = arterial_input(work, "auto" if aif is None else aif) if wants_flow else None
    values = map_values(work, artery, nawm)
    volumes = {name: work.volume(values[name], name) for name in config.chosen_maps}
    notes = (*part.notes, *brain.notes, *work.notes)
    return Conventional(volumes, brain, artery, work.white_matter_level, motion, notes, part.described())


def _arterial_part(
    aif: ArrayLike | Literal["auto"] | None, part: OneBolus, *, n_times: int
) -> ArrayLike | Literal["auto"] | None:
    """An arterial curve of the whole series, at the volumes that are read; masks and the rest as they are."""
    if aif is None or isinstance(aif, str) or len(part.passes) < 2 or np.shape(aif) != (n_times,):
        return aif
    return np.asarray(aif, dtype=float)[list(part.passes[part.chosen].volumes)]


def _captk(
    series: Series, config: ConventionalConfig, brain: Brain, nawm: NDArray[np.bool_] | None
) -> tuple[dict[str, Volume], tuple[str, ...], float | None]:
    """CaPTk's maps; they know no brain mask, and nothing is set to 0 outside of it."""
    found = captk_maps(series.signal)
    arrays: dict[str, Floats] = {"ap_rcbv": found.ap_rcbv, "psr": found.psr, "ph": found.ph}
    notes: tuple[str, ...] = (
        "CaPTk's scale: one patient's own, echo time taken as 50 ms, no leakage correction",
    )
    level = None
    if "nrcbv" in config.chosen_maps:
        if nawm is None:
            delta = log_ratio(series.signal, brain.bolus)
            plain = first_pass_integral(delta, brain.bolus, time_step=series.time_step)
            size = voxel_size(series.affine)
            white = estimate_white_matter(brain.baseline, plain, brain.mask, voxel_size=size)
            level = white.level_of(found.ap_rcbv)
        else:
            level = mean_over_nawm(found.ap_rcbv, nawm & brain.mask)
        arrays["nrcbv"] = np.where(brain.mask, found.ap_rcbv / np.float32(level), 0).astype(np.float32)
    return {name: Volume(arrays[name], series.affine, name) for name in config.chosen_maps}, notes, level


def _still(series: Series, bolus: Bolus) -> Series:
    size = voxel_size(series.affine)
    return replace(
        series,
        signal=correct_motion(
            series.signal, voxel_size=size, baseline=bolus.baseline, spikes=bolus.spikes, mode="on"
        )[0],
    )


def _check_inputs(
    series: Series,
    config: ConventionalConfig,
    aif: ArrayLike | Literal["auto"] | None,
    second_echo: Series | None,
    nawm: NDArray[np.bool_] | None,
) -> None:
    if (config.method == "dual-echo") != (second_echo is not None):
        raise ConfigError(
            f"method {config.method} {'without' if second_echo is None else 'with'} a second echo; "
            "give --method dual-echo and --second-echo together"
        )
    if "cbv" in config.chosen_maps and aif is None:
        raise ConfigError("cbv in ml/100 ml wants an arterial input; give --aif auto, a curve or a mask")
    if config.venous_rescaling and not {"cbv", "cbf", "mtt", "tmax"} & set(config.chosen_maps):
        raise ConfigError(
            f"venous rescaling scales an arterial input, which none of the maps {', '.join(config.chosen_maps)} "
            "rests on; ask for cbv, cbf, mtt or tmax, or leave it out"
        )
    if second_echo is not None and second_echo.signal.shape != series.signal.shape:
        raise InputError(
            f"second echo has shape {second_echo.signal.shape}, wanted that of the first, {series.signal.shape}"
        )
    if nawm is not None and nawm.shape != series.signal.shape[:3]:
        raise InputError(f"white matter mask has shape {nawm.shape}, wanted {series.signal.shape[:3]}")
