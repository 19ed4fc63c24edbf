"""The conventional engine on a brain whose blood volume, flow and delay are known in every voxel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perfmap.engine.conventional import conventional, conventional_maps
from perfmap.engine.conventional_config import ConventionalConfig, available_maps, make_config
from perfmap.errors import ConfigError, InputError
from perfmap.io.tissue_prior import load_tissue_prior
from perfmap.physics.aif import gamma_variate, recirculate
from perfmap.physics.leakage import cumulative_integral
from perfmap.physics.residue import tissue_response
from perfmap.series import Series

FINE, STEP, ECHO = 0.1, 1.5, 0.03
N_TIMES, FACTOR, RELAXIVITY = 60, 0.733, 50.0
VOLUME = {"white": 2.0, "grey": 4.4, "fluid": 0.05}
TRANSIT = {"white": 5.0, "grey": 4.0, "fluid": 4.0}
RELATIVE = ("firstpass", "full", "gamma", "bsw", "bidirectional", "ssvd", "csvd", "osvd", "tikhonov")


def artery() -> np.ndarray:
    """Arterial concentration on the fine grid, mM; arrival at 20 s, recirculation and tail."""
    time = np.arange(0, N_TIMES * STEP, FINE)
    first = 50 * gamma_variate(time, arrival=20, alpha=3, beta=1.5)
    return recirculate(first, time_step=FINE, fraction=0.15, delay=12, tau=12, tail=0.03)


class Head:
    """Average brain at 8 mm: shares of three tissues, their ΔR2*, and the true nrCBV."""

    def __init__(self, *, noise: float = 0.0, leak: float = 0.0) -> None:
        prior = load_tissue_prior()
        shares = {name: getattr(prior, name)[::2, ::2, 8:42:4] for name in VOLUME}
        total = sum(shares.values())
        self.mask = total > 0.6
        self.shares = {
            name: np.where(self.mask, share / np.maximum(total, 0.1), 0) for name, share in shares.items()
        }
        self.cbv = sum(VOLUME[name] * share for name, share in self.shares.items())
        self.nrcbv = self.cbv / VOLUME["white"]
        self.white = self.shares["white"] > 0.9
        fine = artery()
        curves = {
            name: RELAXIVITY
            * VOLUME[name]
            / 100
            / FACTOR
            * tissue_response(fine, time_step=FINE, mtt=TRANSIT[name], family="gamma", residue_lambda=3.0)[
                ::15
            ]
            for name in VOLUME
        }
        self.aif = RELAXIVITY * fine[::15]
        self.delta = sum(share[..., None] * curves[name] for name, share in self.shares.items())
        self.leaking = np.zeros_like(self.mask)
        if leak:
            self.leaking[8:12, 14:18, 3:6] = self.mask[8:12, 14:18, 3:6]
            rate = leak * cumulative_integral(curves["white"], time_step=STEP)
            self.delta[self.leaking] -= rate
        baseline = 600 + 300 * self.shares["fluid"] + 60 * self.shares["grey"]
        signal = np.where(self.mask, baseline, 0)[..., None] * np.exp(-ECHO * self.delta)
        rng = np.random.default_rng(7)
        signal = signal + self.mask[..., None] * rng.normal(0, noise * 600, signal.shape)
        affine = np.diag([8.0, 8.0, 16.0, 1.0])
        self.series = Series(signal.astype(np.float32), affine, STEP, STEP, ECHO)

    def error(self, nrcbv: np.ndarray, where: np.ndarray | None = None) -> float:
        """Root mean square error relative to the root mean square of the truth."""
        chosen = self.mask & ~self.leaking if where is None else where
        return float(np.sqrt(np.mean((nrcbv - self.nrcbv)[chosen] ** 2) / np.mean(self.nrcbv[chosen] ** 2)))


@pytest.fixture(scope="module")
def head() -> Head:
    return Head()


@pytest.fixture(scope="module")
def noisy() -> Head:
    return Head(noise=0.01)


def maps_of(head: Head, method: str, *maps: str, **options: object) -> dict[str, np.ndarray]:
    found = conventional_maps(head.series, method=method, maps=maps, mask=head.mask, **options)  # type: ignore[arg-type]
    return {name: np.asarray(volume.array) for name, volume in found.items()}


@pytest.mark.parametrize("method", RELATIVE)
def test_relative_volume_is_the_true_one(head: Head, method: str) -> None:
    """Without leakage every method gives the truth, up to the tail outside of its window."""
    nrcbv = maps_of(head, method, "nrcbv", nawm=head.white)["nrcbv"]
    # The gamma variate leaves the tail out; back-flow takes some of the difference in transit time for leakage.
    assert head.error(nrcbv) < (0.08 if method in ("gamma", "bidirectional") else 0.04)


@pytest.mark.parametrize("method", ["firstpass", "bsw"])
def test_white_matter_found_equals_white_matter_given(noisy: Head, method: str) -> None:
    given = maps_of(noisy, method, "nrcbv", nawm=noisy.white)["nrcbv"]
    found = maps_of(noisy, method, "nrcbv")["nrcbv"]
    assert np.median(found[noisy.mask] / given[noisy.mask]) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("method", ["gamma", "bidirectional", "osvd", "tikhonov", "captk"])
def test_a_factor_of_the_signal_changes_no_map(noisy: Head, method: str) -> None:
    """CaPTk's are the exception: its mask is an intensity, its baseline is rounded, PH is in units of signal."""
    maps = tuple(name for name in available_maps(method) if name not in ("ap_rcbv", "psr", "ph"))
    plain = maps_of(noisy, method, *maps, aif="auto")
    bright = Head(noise=0.01)
    bright.series = replace(bright.series, signal=bright.series.signal * np.float32(8))
    scaled = maps_of(bright, method, *maps, aif="auto")
    for name in maps:
        limit = 0.005 if method == "captk" else 1e-4
        typical = np.abs(plain[name][noisy.mask]).mean()
        assert np.abs(scaled[name] - plain[name]).max() <= limit * 10 * typical, name


def test_absolute_volume_with_the_arterial_curve_given(head: Head) -> None:
    cbv = maps_of(head, "full", "cbv", aif=head.aif)["cbv"]
    tissue = head.mask & (head.shares["fluid"] < 0.3)
    np.testing.assert_allclose(cbv[tissue], head.cbv[tissue], rtol=0.02)
    doubled = maps_of(head, "full", "cbv", aif=head.aif, hematocrit_factor=2 * FACTOR)["cbv"]
    np.testing.assert_allclose(doubled, 2 * cbv, rtol=1e-6)


@pytest.mark.parametrize("method", ["csvd", "osvd", "tikhonov", "ssvd"])
def test_flow_maps_hang_together(head: Head, method: str) -> None:
    """CBV = CBF · MTT/60, and flow ranks as the truth does."""
    found = maps_of(head, method, "cbv", "cbf", "mtt", "tmax", aif=head.aif)
    tissue = head.mask & (head.shares["fluid"] < 0.3)
    np.testing.assert_allclose(found["cbv"][tissue], (found["cbf"] * found["mtt"] / 60)[tissue], rtol=1e-4)
    flow = sum(60 * VOLUME[name] / TRANSIT[name] * share for name, share in head.shares.items())
    assert np.corrcoef(found["cbf"][tissue], flow[tissue])[0, 1] > 0.99
    assert 0.45 < np.median(found["cbf"][tissue] / flow[tissue]) < 1.05


def test_leakage_is_corrected_and_its_sign_told() -> None:
    for leak, sign in ((0.04, 1), (-0.04, -1)):
        head = Head(noise=0.005, leak=leak)
        wrong = maps_of(head, "full", "nrcbv", nawm=head.white & ~head.leaking)["nrcbv"]
        for method in ("bsw", "bidirectional"):
            found = maps_of(head, method, "nrcbv", "k2", nawm=head.white & ~head.leaking)
            inside = head.leaking
            assert head.error(found["nrcbv"], inside) < 0.3 * head.error(wrong, inside)
            assert np.sign(np.median(found["k2"][inside])) == sign
        assert abs(np.median(found["k2"][head.mask & ~inside])) < 0.1 * abs(np.median(found["k2"][inside]))


def test_two_echoes_see_no_t1_leakage() -> None:
    """Enhancement that multiplies both echoes alike ruins one echo, and leaves the two together untouched."""
    head = Head()
    later = np.linspace(0, 0.5, N_TIMES)[None] * (np.arange(N_TIMES) > 16)
    gain = np.ones((*head.mask.shape, N_TIMES))
    gain[8:12, 14:18, 3:6] += later
    baseline = head.series.signal[..., :1]
    first, second = (
        Series(
            (baseline * np.exp(-echo * head.delta) * gain).astype(np.float32),
            head.series.affine,
            STEP,
            STEP,
            echo,
        )
        for echo in (0.008, 0.03)
    )
    lesion = np.zeros_like(head.mask)
    lesion[8:12, 14:18, 3:6] = head.mask[8:12, 14:18, 3:6]
    white = head.white & ~lesion
    dual = conventional_maps(
        first, method="dual-echo", maps=("nrcbv", "k2"), mask=head.mask, nawm=white, second_echo=second
    )
    artery = head.shares["grey"] > 0.9
    absolute = conventional_maps(
        first,
        method="dual-echo",
        maps=("cbv",),
        mask=head.mask,
        aif=artery,
        second_echo=second,
        window="full",
    )
    grey = np.asarray(absolute["cbv"].array)[artery].mean()
    assert grey == pytest.approx(100 * FACTOR, rel=0.02)
    single = conventional_maps(second, method="full", maps=("nrcbv",), mask=head.mask, nawm=white)
    assert head.error(np.asarray(dual["nrcbv"].array), lesion) < 0.05
    assert head.error(np.asarray(single["nrcbv"].array), lesion) > 0.5


def test_two_echoes_of_which_the_first_shows_no_bolus(head: Head) -> None:
    """After 1 ms the brain has lost 1 % of its signal: bolus, brain and artery are found in the later echo."""
    baseline = head.series.signal[..., :1]
    first, second = (
        replace(
            head.series, signal=(baseline * np.exp(-echo * head.delta)).astype(np.float32), echo_time=echo
        )
        for echo in (0.001, 0.030)
    )
    with pytest.raises(InputError, match="no bolus"):
        conventional_maps(first, method="firstpass", maps=("rcbv",))
    found = conventional_maps(
        first, method="dual-echo", maps=("nrcbv", "cbv"), aif="auto", nawm=head.white, second_echo=second
    )
    assert head.error(np.asarray(found["nrcbv"].array)) < 0.05


def test_times_of_a_delayed_region(head: Head) -> None:
    late = Head()
    region = np.zeros_like(late.mask)
    region[14:18, 14:20, 3:6] = late.mask[14:18, 14:20, 3:6]
    signal = late.series.signal.copy()
    signal[region, 3:] = late.series.signal[region, :-3]
    late.series = replace(late.series, signal=signal)
    names = ("ttp", "bat", "tmax")
    now = maps_of(late, "csvd", *names, aif=late.aif)
    before = maps_of(head, "csvd", *names, aif=head.aif)
    for name in names:
        assert np.median((now[name] - before[name])[region]) == pytest.approx(3 * STEP, abs=0.5), name


def test_arterial_mask_gives_the_curve_of_its_voxels(head: Head) -> None:
    vessel = np.zeros_like(head.mask)
    vessel[12, 12:18, 4] = True
    delta = np.where(vessel[..., None], 0.1 * head.aif, head.delta)
    signal = np.where(head.mask | vessel, 700, 0)[..., None] * np.exp(-ECHO * delta)
    series = replace(head.series, signal=signal.astype(np.float32))
    config = ConventionalConfig(method="full", maps=("cbv",))
    done = conventional(series, config, mask=head.mask | vessel, aif=vessel)
    assert done.aif is not None
    np.testing.assert_allclose(done.aif, 0.1 * head.aif, atol=0.002 * head.aif.max())
    found = conventional(series, config, mask=head.mask | vessel, aif="auto")
    assert found.aif is not None
    assert np.corrcoef(found.aif, head.aif)[0, 1] > 0.99


def test_brain_and_bolus_are_found_and_reported(noisy: Head) -> None:
    done = conventional(noisy.series, ConventionalConfig())
    overlap = 2 * (done.brain.mask & noisy.mask).sum() / (done.brain.mask.sum() + noisy.mask.sum())
    assert overlap > 0.95
    assert set(done.maps) == {"nrcbv", "rcbv"}
    assert 10 <= done.brain.bolus.arrival <= 15
    assert any("white matter was estimated" in note for note in done.notes)
    assert not np.asarray(done.maps["nrcbv"].array)[~done.brain.mask].any()


def test_unknown_echo_time_changes_nrcbv_not_at_all(noisy: Head) -> None:
    unknown = Head(noise=0.01)
    unknown.series = replace(unknown.series, echo_time=None)
    plain = maps_of(noisy, "bsw", "nrcbv")["nrcbv"]
    np.testing.assert_allclose(maps_of(unknown, "bsw", "nrcbv")["nrcbv"], plain, rtol=1e-4, atol=1e-4)


def test_captk_maps_are_of_the_whole_image(head: Head) -> None:
    found = conventional(head.series, ConventionalConfig(method="captk"), mask=head.mask)
    assert set(found.maps) == {"ap_rcbv", "psr", "ph"}
    volume = np.asarray(found.maps["ap_rcbv"].array)
    assert np.corrcoef(volume[head.mask], head.nrcbv[head.mask])[0, 1] > 0.98
    assert any("know no brain mask" in note for note in found.notes)
    only_cut = conventional(head.series, ConventionalConfig(method="captk", maps=("nrcbv",)), mask=head.mask)
    assert not any("know no brain mask" in note for note in only_cut.notes)


def test_venous_rescaling_of_maps_without_an_arterial_input_is_refused(noisy: Head) -> None:
    with pytest.raises(ConfigError, match="which none of the maps nrcbv rests on"):
        maps_of(noisy, "firstpass", "nrcbv", venous_rescaling=True)


def test_kmeans_is_repeatable_and_vein_scales_up(noisy: Head) -> None:
    first = maps_of(noisy, "firstpass", "cbv", aif="auto", aif_method="k-means", seed=3)["cbv"]
    again = maps_of(noisy, "firstpass", "cbv", aif="auto", aif_method="k-means", seed=3)["cbv"]
    np.testing.assert_array_equal(first, again)
    scaled = maps_of(noisy, "firstpass", "cbv", aif="auto", venous_rescaling=True)["cbv"]
    plain = maps_of(noisy, "firstpass", "cbv", aif="auto")["cbv"]
    ratio = scaled[noisy.mask] / np.where(plain[noisy.mask] == 0, 1, plain[noisy.mask])
    assert np.ptp(ratio) < 1e-3
    assert 0 < np.median(ratio) <= 1


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"method": "magic"}, "--method is 'magic'"),
        ({"maps": ("k2",)}, "firstpass gives no map k2"),
        ({"method": "captk", "maps": ("cbf",)}, "captk gives no map cbf"),
        ({"hematocrit_factor": -1.0}, "--hematocrit-factor is -1.0"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, object], seen: str) -> None:
    with pytest.raises(ConfigError, match=seen):
        make_config(**settings)


def test_inputs_that_do_not_fit_are_refused(head: Head) -> None:
    with pytest.raises(ConfigError, match="wants an arterial input"):
        maps_of(head, "firstpass", "cbv")
    with pytest.raises(ConfigError, match="without a second echo"):
        maps_of(head, "dual-echo", "nrcbv")
    with pytest.raises(InputError, match="one value for each of the 60"):
        maps_of(head, "firstpass", "cbv", aif=np.ones(59))
    with pytest.raises(InputError, match="white matter mask holds no brain voxel"):
        maps_of(head, "firstpass", "nrcbv", nawm=~head.mask)
    with pytest.raises(InputError, match="arterial mask is empty"):
        maps_of(head, "firstpass", "cbv", aif=np.zeros_like(head.mask))
