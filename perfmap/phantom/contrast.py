"""From a subject's compartments and an injection to the noise-free signal of every voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import ndtri

from perfmap.phantom.injection import arterial_concentration, slice_offsets
from perfmap.phantom.priors import LABELS
from perfmap.phantom.priors.acquisition import (
    ACQUISITION,
    BLOOD_LINEAR,
    BLOOD_QUADRATIC,
    CHOICES,
    R1_RELAXIVITY,
    R2E_FIELD_FACTOR,
    R2V,
)
from perfmap.phantom.priors.tissue import VARIATION
from perfmap.phantom.protocol import AcquisitionParameters
from perfmap.phantom.randomness import bounded_field
from perfmap.phantom.subject import Rows, Subject
from perfmap.physics import aif
from perfmap.physics.curves import (
    FINE_STEP,
    SampledCurves,
    join_curves,
    sample_interstitial_curves,
    sample_tissue_curves,
)
from perfmap.physics.signal import gradient_echo_signal, spin_echo_signal

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CHUNK = 8192
_PERCENT = 100.0
_ARTERY, _VEIN = LABELS["vessel_artery"], LABELS["vessel_vein"]


@dataclass(frozen=True)
class _Medium:
    """Per-row constants of the signal equation, rows sorted by voxel. Shape (n,) each."""

    voxel: IntArray
    fraction: Float32Array
    volume: Float32Array  # concentration per unit-CBV curve
    linear: Float32Array
    quadratic: Float32Array
    exchange: Float32Array
    r1: Float32Array
    r2: Float32Array
    density: Float32Array
    flip: Float32Array
    ktrans: Float32Array
    phase: Float32Array  # rad per mM, vessels with a phase of their own
    kappa: Float32Array  # linear relaxivity of the artery beside the row
    artery: IntArray  # that artery's row


def perfused_signal(subject: Subject, acquisition: AcquisitionParameters) -> Float32Array:
    """Noise-free magnitude of every voxel at every image, before spatial artefacts.

    Each compartment (row) is followed by itself and the compartments of a voxel are summed by their fractions;
    arteries with a phase of their own are summed as complex numbers.

    Parameters
    ----------
    subject : Subject
        Tissue and vessels.
    acquisition : AcquisitionParameters
        Sequence and injection.

    Returns
    -------
    ndarray, float32, shape (x, y, z, t)
    """
    rows = subject.rows
    order = np.argsort(rows.voxel, kind="stable")
    medium = _medium(subject, acquisition, order)
    n_slices = subject.shape[2]
    offset = slice_offsets(n_slices, acquisition)[medium.voxel % n_slices]
    delay = np.asarray(rows.delay[order], dtype=np.float64) - offset
    times: FloatArray = np.arange(acquisition.n_times, dtype=np.float64) * acquisition.time_step
    blood, leaky, leaked = _concentrations(rows, acquisition, order, delay, times)

    n_voxels = int(np.prod(subject.shape))
    signal = np.zeros((n_voxels, acquisition.n_times), dtype=np.float32)
    edges = _chunk_edges(medium.voxel)
    leak_edges = np.searchsorted(leaky, edges)
    for first, last, leak_first, leak_last in zip(
        edges[:-1], edges[1:], leak_edges[:-1], leak_edges[1:], strict=True
    ):
        chunk = slice(int(first), int(last))
        leak = slice(int(leak_first), int(leak_last))
        c = blood.curves(chunk)
        c *= medium.volume[chunk]
        c_leak = None
        if leak.stop > leak.start and leaked is not None:
            c_leak = leaked.curves(leak)
            c_leak *= medium.ktrans[leaky[leak]]
        s = _row_signal(medium, acquisition, chunk, c, leaky[leak] - chunk.start, c_leak, blood)
        _add_up(signal, s, c, medium, chunk)
    return signal.reshape(*subject.shape, acquisition.n_times)


def _concentrations(
    rows: Rows, acquisition: AcquisitionParameters, order: IntArray, delay: FloatArray, times: FloatArray
) -> tuple[SampledCurves, IntArray, SampledCurves | None]:
    """Blood curves of all rows, the rows that leak, and their interstitial curves."""
    end = float(times[-1] + acquisition.repetition_time - min(float(delay.min(initial=0.0)), 0.0))
    fine: FloatArray = np.arange(math.ceil(end / FINE_STEP) + 2, dtype=np.float64) * FINE_STEP
    bolus = acquisition.arterial
    whole = acquisition.dose * arterial_concentration(fine, bolus)
    spread = aif.disperse(whole, time_step=FINE_STEP, kind=bolus.dispersion_kind, tau=bolus.dispersion_time)
    plasma = spread / (1.0 - acquisition.hematocrit)
    artery = rows.tissue[order] == _ARTERY  # the bolus spreads on its way from there to the tissue
    parts = [
        sample_tissue_curves(
            curve,
            times,
            family=acquisition.residue_family,
            mtt=rows.mtt[order][chosen],
            delay=delay[chosen],
            residue_lambda=rows.residue_lambda[order][chosen],
        )
        for curve, chosen in ((spread, ~artery), (whole, artery))
    ]
    blood = join_curves(parts, [~artery, artery])
    residual = acquisition.preload_plasma * (1.0 - acquisition.hematocrit)
    if residual > 0:
        blood.table[...] += np.float32(residual)
    leaky = np.flatnonzero(rows.ktrans[order] > 0)
    if leaky.size == 0:
        return blood, leaky, None
    chosen = order[leaky]
    leaked = sample_interstitial_curves(
        plasma,
        times,
        kep=rows.ktrans[chosen] / np.maximum(rows.ve[chosen], VARIATION["least_ve"].value),
        delay=delay[leaky],
        steady_plasma=acquisition.preload_plasma,
        steady_minutes=acquisition.preload_minutes,
    )
    return blood, leaky, leaked


def _medium(subject: Subject, acquisition: AcquisitionParameters, order: IntArray) -> _Medium:
    rows = subject.rows
    voxel = rows.voxel[order].astype(np.int64)
    tissue = rows.tissue[order]
    fraction = rows.fraction[order].astype(np.float32)
    spin_echo = acquisition.sequence == "spin-echo"
    weaker = acquisition.spin_echo_ratio if spin_echo else 1.0
    tesla = acquisition.field_strength
    r2v = R2V[tesla].value * acquisition.r2v_relative * weaker
    blood_linear, blood_quadratic = BLOOD_LINEAR[tesla].value, BLOOD_QUADRATIC[tesla].value

    artery, vein = tissue == _ARTERY, tissue == _VEIN
    vessel = artery | vein
    volume = rows.cbv[order] / _PERCENT
    volume = np.where(vessel, volume, volume / acquisition.hematocrit_factor).astype(np.float32)
    linear = np.where(vessel, blood_linear * weaker, r2v * rows.r2v_factor[order]).astype(np.float32)
    quadratic = np.where(vessel, blood_quadratic * weaker, 0.0).astype(np.float32)
    r2 = 1.0 / (rows.t2[order] if spin_echo else rows.t2star[order])

    mode, angle = _artery_modes(subject, acquisition, voxel)
    peri = artery & (mode == 0)
    spiky = artery & (mode == 1) & (fraction >= ACQUISITION["spiky_fraction"].value) & (not spin_echo)
    linear[peri], quadratic[peri] = r2v * ACQUISITION["periarterial_cbv"].value / _PERCENT, 0.0
    beside = np.zeros(int(np.prod(subject.shape)), dtype=np.int64)
    kappa_of_voxel = np.zeros(beside.size, dtype=np.float32)
    beside[voxel[peri]] = np.flatnonzero(peri)
    kappa_of_voxel[voxel[peri]] = acquisition.arterial_kappa * weaker * fraction[peri] / 0.5
    # Offset of a long cylinder at angle θ to B0, 2π γ B0 χ (cos²θ − 1/3)/2 per mM, times TE.
    shift = math.pi * ACQUISITION["gyromagnetic_ratio"].value * tesla
    shift *= ACQUISITION["molar_susceptibility"].value
    phase = np.where(spiky, shift * (angle - 1 / 3) * acquisition.echo_time, 0.0).astype(np.float32)

    flip = np.full(voxel.size, math.radians(acquisition.flip_angle), dtype=np.float32)
    if acquisition.b1_spread > 0:
        spacing = ACQUISITION["b1_spacing"].value
        field = bounded_field(
            subject.shape, subject.affine, spacing=spacing, seed=acquisition.seed, name="b1"
        )
        flip *= 1.0 + np.float32(acquisition.b1_spread) * field.reshape(-1)[voxel]
    return _Medium(
        voxel=voxel,
        fraction=fraction,
        volume=volume,
        linear=linear,
        quadratic=quadratic,
        exchange=np.where(vessel, ACQUISITION["inflow_t1_share"].value, acquisition.kappa_ex).astype(
            np.float32
        ),
        r1=(1.0 / rows.t1[order]).astype(np.float32),
        r2=r2.astype(np.float32),
        density=rows.proton_density[order].astype(np.float32),
        flip=flip,
        ktrans=rows.ktrans[order].astype(np.float32),
        phase=phase,
        kappa=kappa_of_voxel[voxel],
        artery=beside[voxel],
    )


def _artery_modes(
    subject: Subject, acquisition: AcquisitionParameters, voxel: IntArray
) -> tuple[NDArray[np.int8], Float32Array]:
    """How arteries behave where each row lies (0 linear, 1 complex, 2 saturated), and cos² of their angle to B0."""
    spacing = ACQUISITION["artery_spacing"].value
    fields = [
        bounded_field(
            subject.shape, subject.affine, spacing=spacing, seed=acquisition.seed, name=name
        ).reshape(-1)[voxel]
        for name in ("artery mode", "artery angle")
    ]
    # The bounded fields are tanh of a standard normal deviate, so shares become thresholds by its quantiles.
    thresholds = np.tanh(ndtri(np.cumsum(list(CHOICES["artery_mode"].shares.values()))[:2]))
    return np.searchsorted(thresholds, fields[0]).astype(np.int8), fields[1] ** 2


def _row_signal(
    medium: _Medium,
    acquisition: AcquisitionParameters,
    chunk: slice,
    c: Float32Array,
    leaky: IntArray,
    c_leak: Float32Array | None,
    blood: SampledCurves,
) -> Float32Array:
    """Signal of the rows of one chunk, times proton density. Shape (t, m)."""
    field = acquisition.field_strength
    relaxivity = R1_RELAXIVITY[acquisition.agent][field].value
    r1 = c * (np.float32(relaxivity) * medium.exchange[chunk])
    r1 += medium.r1[chunk]
    r2 = c * medium.linear[chunk]
    r2 += medium.r2[chunk]
    square = np.flatnonzero(medium.quadratic[chunk])
    if square.size:
        r2[:, square] += medium.quadratic[chunk][square] * c[:, square] ** 2
    beside = np.flatnonzero(medium.kappa[chunk])
    if beside.size:
        r2[:, beside] += medium.kappa[chunk][beside] * blood.curves(medium.artery[chunk][beside])
    if c_leak is not None:
        r2e = acquisition.r2e * R2E_FIELD_FACTOR[field].value
        if acquisition.sequence == "spin-echo":
            r2e *= acquisition.spin_echo_ratio
        r1[:, leaky] += np.float32(relaxivity) * c_leak
        r2[:, leaky] += np.float32(r2e) * c_leak
    if acquisition.sequence == "spin-echo":
        s = spin_echo_signal(
            r1,
            r2,
            echo_time=acquisition.echo_time,
            repetition_time=acquisition.repetition_time,
            n_dummies=acquisition.n_dummies,
        )
    else:
        s = gradient_echo_signal(
            r1,
            r2,
            echo_time=acquisition.echo_time,
            repetition_time=acquisition.repetition_time,
            flip_angle=medium.flip[chunk],
            n_dummies=acquisition.n_dummies,
            pulses_per_volume=acquisition.pulses_per_volume,
        )
    s *= medium.density[chunk]
    return s


def _add_up(signal: Float32Array, s: Float32Array, c: Float32Array, medium: _Medium, chunk: slice) -> None:
    """Sum the rows of a chunk into their voxels."""
    voxel = medium.voxel[chunk]
    starts = np.flatnonzero(np.diff(voxel, prepend=-1))
    indptr = np.append(starts, voxel.size)
    target = voxel[starts]
    turning = np.flatnonzero(medium.phase[chunk])
    imaginary = None
    if turning.size:
        angle = c[:, turning] * medium.phase[chunk][turning]
        swing = np.zeros((voxel.size, s.shape[0]), dtype=np.float32)
        swing[turning] = (s[:, turning] * np.sin(angle)).T
        s[:, turning] *= np.cos(angle)
        imaginary = swing
    shape = (starts.size, voxel.size)
    sums = csr_matrix((medium.fraction[chunk], np.arange(voxel.size), indptr), shape=shape)
    total = sums @ np.ascontiguousarray(s.T)
    if imaginary is not None:
        total = np.hypot(total, sums @ imaginary)
    signal[target] = total


def _chunk_edges(voxel: IntArray) -> IntArray:
    """Edges of chunks of about `_CHUNK` rows that never split a voxel."""
    starts = np.append(np.flatnonzero(np.diff(voxel, prepend=-1)), voxel.size)
    wanted = np.arange(0, voxel.size + _CHUNK, _CHUNK)
    return np.unique(starts[np.searchsorted(starts, np.minimum(wanted, voxel.size))])
