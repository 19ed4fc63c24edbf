"""What makes a series of an export a DSC series, and every reason why another is left."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.io.dicom_frames import MR_CLASSES
from perfmap.io.dicom_order import Order
from perfmap.io.dicom_pixels import Undecodable, read_pixels, tiles_of
from perfmap.io.dicom_scan import ScannedSeries
from perfmap.io.dicom_stack import Arranged, Stack, stacks_of
from perfmap.io.nifti import MIN_VOLUMES
from perfmap.physics.bolus import find_bolus

WANTED_ECHO = 0.030
"""Echo time of the training, s: of several echoes the nearest is taken."""
SMOOTHER = 0.7
"""Part of a curve's length (sum of its steps) that tells a better order of volumes from noise."""
MAPS = {
    *(
        "RCBV",
        "CBV",
        "RELCBV",
        "CORRCBV",
        "RCBF",
        "CBF",
        "RELCBF",
        "MTT",
        "RELMTT",
        "TTP",
        "PBP",
        "GBP",
        "TMAX",
    ),
    *("PERFUSION_COLOR", "K2", "ADC", "TRACEW", "FA", "T0", "IRF", "NEI", "TMIP", "R2MAP"),
}
"""Words of ImageType that say: a map, not an acquisition."""


def reason_left(series: ScannedSeries) -> str:
    """Why a series cannot be the DSC series, by its headers; ``""`` if it may be one."""
    modality = series.header["Modality"] or "no modality"
    if modality != "MR":
        return f"{modality}, not MR"
    if series.sop_class_uid not in MR_CLASSES:
        return "no MR images (secondary capture, report or raw data)"
    if (series.header["SamplesPerPixel"] or 1) > 1:
        return "colour images, a map of the vendor"
    words = {word.strip().upper() for word in series.header["ImageType"].split("\\")}
    if found := sorted(words & MAPS):
        return f"a map of the vendor ({', '.join(found)})"
    if not series.frames:
        return f"no whole image ({series.n_truncated} truncated)" if series.n_truncated else "no image"
    if "MOSAIC" in words and not any(frame.n_tiles for frame in series.frames):
        return "a mosaic whose number of slices was taken out of its header; export it with private elements"
    if series.b_values:
        return "diffusion-weighted"
    stacks = stacks_of(series.frames)
    if not stacks:
        return "no position or orientation in the headers"
    magnitude = [stack for stack in stacks if stack.component == "magnitude"]
    if not magnitude:
        return f"{stacks[0].component} images, wanted magnitude"
    return ""


def is_long_enough(stack: Stack) -> bool:
    """Whether a stack has the volumes of a dynamic series."""
    return stack.n_volumes >= MIN_VOLUMES


def choose_stack(series: Sequence[ScannedSeries]) -> tuple[Stack, tuple[str, ...]]:
    """The magnitude images at the echo nearest 30 ms.

    Returns
    -------
    stack : Stack
    notes : tuple of str
        Which other echoes and components were left.

    Raises
    ------
    InputError
        If the images of that echo differ in matrix, spacing or orientation.
    """
    stacks = stacks_of([frame for one in series for frame in one.frames])
    magnitude = [stack for stack in stacks if stack.component == "magnitude"]
    long_enough = [stack for stack in magnitude if is_long_enough(stack)] or magnitude
    best = min(long_enough, key=lambda stack: abs((stack.echo_time or WANTED_ECHO) - WANTED_ECHO))
    notes = []
    if echoes := sorted({_ms(stack) for stack in magnitude if stack.echo_time != best.echo_time}):
        notes.append(
            f"of several echoes that of {_ms(best)} ms is taken, nearest to 30 ms; left: {', '.join(echoes)} ms"
        )
    mixed = [stack for stack in magnitude if stack.echo_time == best.echo_time and stack is not best]
    if mixed:
        a, b = best.frames[0], mixed[0].frames[0]
        what = "orientation" if (a.rows, a.columns, a.spacing) == (b.rows, b.columns, b.spacing) else "matrix"
        raise InputError(
            f"images of different {what} in one series: {len(best.frames)} of {a.columns}×{a.rows} and "
            f"{len(mixed[0].frames)} of {b.columns}×{b.rows}; separate them and give one"
        )
    if components := sorted({stack.component for stack in stacks} - {"magnitude"}):
        notes.append(f"{' and '.join(components)} images beside the magnitude were left")
    return best, tuple(notes)


def slice_curve(arranged: Arranged) -> NDArray[np.float64] | None:
    """Mean signal of the middle slice's bright part over time, a look at whether there is a bolus.

    Returns
    -------
    ndarray, shape (t,), or None
        None where the compression is not known; the bolus is then looked for after conversion.
    """
    grid, middle = arranged.order.grid, arranged.n_slices // 2
    try:
        if arranged.stack.is_mosaic:
            frames = [volume[0] for volume in grid]
            planes = [
                tiles_of(image, frame)[middle]
                for image, frame in zip(read_pixels(frames), frames, strict=True)
            ]
        else:
            planes = list(read_pixels([volume[middle] for volume in grid]))
    except Undecodable:
        return None
    images = np.stack(planes)
    first = images[: max(len(images) // 8, 3)].mean(axis=0)
    bright = first > 0.35 * np.percentile(first, 98)
    if not bright.any():
        return np.zeros(len(images))
    return images[:, bright].mean(axis=1, dtype=np.float64)


def refuse_jumping_curve(curve: NDArray[np.float64], order: Order) -> None:
    """Refuse an order of volumes in which the signal jumps, where another order that the headers give runs smoothly.

    Raises
    ------
    InputError
        Naming both orders.
    """
    length = float(np.abs(np.diff(curve)).sum())
    for name, alternative in order.alternatives:
        other = float(np.abs(np.diff(curve[list(alternative)])).sum())
        if other < SMOOTHER * length:
            raise InputError(
                f"the order of the volumes is contradictory: in that of {' and '.join(order.witnesses)} the signal "
                f"jumps up and down, in that of {name} it runs smoothly; export the series again"
            )


def reason_by_curve(curve: NDArray[np.float64], *, time_step: float) -> str:
    """Why a curve is not that of a DSC series; ``""`` if it is: what counts is the signal, not a name.

    A T1-weighted dynamic series (DCE) rises where a T2*-weighted one falls.
    """
    base = float(np.median(curve[2 : max(len(curve) // 6, 5)]))
    if base <= 0:
        return "no signal in the middle slice"
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(curve, 3), axis=1)[2:]
    rise, fall = float(smooth.max()) / base - 1, 1 - float(smooth.min()) / base
    if rise > 0.05 and rise > 2 * fall:
        return f"the signal rises by {100 * rise:.0f} %, as in T1-weighted (DCE) imaging; in DSC it falls"
    try:
        find_bolus(curve, time_step=time_step)
    except InputError as error:
        return str(error)
    return ""


def notes_of(series: ScannedSeries) -> tuple[str, ...]:
    """What a reader of the map must know about how the series was acquired and how it arrived.

    Age, agent and lossy compression travel in the sidecar: the quality gate judges them.
    """
    header, notes = series.header, []
    words = set(header["ScanningSequence"].split("\\"))
    if header["EchoPulseSequence"] == "SPIN" or ("SE" in words and "GR" not in words):
        notes.append(
            "spin echo: the map is SE-nrCBV, weighted towards capillaries; the network was trained on gradient echoes"
        )
    if series.n_duplicates:
        notes.append(f"{series.n_duplicates} files are copies of others and were left")
    if series.n_truncated:
        notes.append(f"{series.n_truncated} files end before their last pixel and were left")
    return tuple(notes)


def is_motion_corrected(series: ScannedSeries) -> bool:
    """Whether the scanner made the series from another one by motion correction."""
    return "MOCO" in (series.header["ImageType"] + series.header["SeriesDescription"]).upper()


def shown(series: ScannedSeries, name: str, *, keep_phi: bool = False) -> str:
    """A text of the header, left out where it holds part of the patient's name, ID, birth date or accession number.

    Short Latin words count only where they stand alone.
    """
    value = str(series.header.get(name) or "")
    lower = value.lower()
    words = set(re.split(r"[\W_]+", lower))
    named = any(
        secret in (words if secret.isascii() and len(secret) < 3 else lower) for secret in series.secrets
    )
    return "(names the patient)" if named and not keep_phi else value


def _ms(stack: Stack) -> str:
    return "unknown" if stack.echo_time is None else f"{1000 * stack.echo_time:g}"
