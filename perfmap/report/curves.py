"""The brain-mean curve of a series, with what was found in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.physics.bolus import Bolus, baseline_signal
from perfmap.report.canvas import DARK, LIGHT, house_style, new_figure, to_png


def curve_figure(
    time: NDArray[np.float64], signal: NDArray[np.float64], bolus: Bolus, *, dark: bool = False
) -> bytes:
    """Draw the brain-mean signal with what was found in it: baseline, arrival, first pass, peak.

    Parameters
    ----------
    time : ndarray, shape (t,)
        Time of each volume, s.
    signal : ndarray, shape (t,)
        Mean signal of the brain, arbitrary unit; drawn in percent of the baseline.
    bolus : Bolus
        As `find_bolus` found it.
    dark : bool
        Draw for a dark page.

    Returns
    -------
    bytes
        A PNG; the same input gives the same bytes.

    Raises
    ------
    InputError
        If time and signal differ in length.
    """
    if np.shape(time) != np.shape(signal):
        raise InputError(f"time has shape {np.shape(time)} and signal {np.shape(signal)}, wanted the same")
    percent = 100.0 * np.asarray(signal, dtype=float) / float(baseline_signal(signal, bolus))
    with house_style():
        return _draw_curve(np.asarray(time, dtype=float), percent, bolus, dark=dark)


def _draw_curve(
    time: NDArray[np.float64], percent: NDArray[np.float64], bolus: Bolus, *, dark: bool
) -> bytes:
    theme = DARK if dark else LIGHT
    ink, faint, line = theme.ink, theme.faint, theme.line
    figure = new_figure(8.4, 3.0, theme)
    axes = figure.add_axes((0.075, 0.17, 0.905, 0.7))
    axes.set_facecolor("none")
    step = float(time[1] - time[0])
    top = axes.get_xaxis_transform()
    for part, colour, name in (
        (bolus.baseline, theme.baseline, "baseline"),
        (bolus.window, theme.first_pass, "first pass"),
    ):
        start, stop = time[part][0], time[part][-1]
        axes.axvspan(start, stop, color=colour, alpha=0.14, linewidth=0)
        axes.text((start + stop) / 2, 1.02, name, color=colour, ha="center", va="bottom", transform=top)
    axes.axhline(100, color=faint, linewidth=0.6, linestyle=(0, (4, 3)), zorder=1)
    axes.plot(time, percent, color=line, linewidth=1.5, zorder=3)
    left_out = np.zeros(len(time), dtype=bool)
    left_out[: bolus.n_unsteady] = True
    left_out[list(bolus.spikes)] = True
    axes.plot(time[~left_out], percent[~left_out], "o", color=line, markersize=2.8, zorder=4)
    if left_out.any():
        axes.plot(time[left_out], percent[left_out], "x", color=faint, markersize=5, zorder=4)
    arrival = float(time[bolus.arrival])
    axes.axvline(arrival, color=ink, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=2)
    low = float(percent[bolus.peak])
    axes.annotate(
        f"drop {100 - low:.0f} % at {time[bolus.peak]:.1f} s",
        (float(time[bolus.peak]), low),
        xytext=(0, -7),
        textcoords="offset points",
        color=ink,
        ha="center",
        va="top",
    )
    margin = 0.08 * (percent.max() - percent.min())
    axes.set_ylim(percent.min() - 2 * margin, percent.max() + margin)
    axes.set_xlim(time[0] - step, time[-1] + step)
    axes.text(
        arrival - 0.4 * step,
        percent.min() - margin,
        f"arrival {arrival:.1f} s",
        color=ink,
        ha="right",
        va="bottom",
    )
    axes.set_xlabel(
        "Time from the first volume, s" + ("     × left out" if left_out.any() else ""), color=ink
    )
    axes.set_ylabel("Brain-mean signal, % of baseline", color=ink)
    axes.tick_params(colors=ink, length=3, width=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(faint)
        spine.set_linewidth(0.6)
    return to_png(figure)
