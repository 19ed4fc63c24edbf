"""The quality gate: what it says of good series, of spoilt ones, and in which form."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from perfmap.engine.predict import PredictConfig, Prediction, examine
from perfmap.engine.predict_file import predict_file
from perfmap.engine.quality import Finding, QualityReport, Status, assess, judge
from perfmap.engine.quality_table import THRESHOLDS, Threshold
from perfmap.engine.training_range import Acquisition, acquisition_of
from perfmap.errors import QualityError
from perfmap.io.nifti import write_series
from perfmap.models import build_network
from perfmap.models.card import InputContract, ModelCard
from perfmap.models.checkpoint import Checkpoint
from perfmap.series import Series
from tests.heads import head_series
from tests.models.test_checkpoint import card_fields

INPUTS = InputContract(matrix=32)


@pytest.fixture(scope="module")
def card() -> ModelCard:
    fields = card_fields()
    training = {**fields["training"], "data": "simulated DSC-MRI"}
    return ModelCard(**{**fields, "training": training, "inputs": INPUTS}, sha256="0" * 64)


@pytest.fixture(scope="module")
def head() -> Series:
    return head_series(shape=(96, 96, 12), n_times=60)[0]


@pytest.fixture(scope="module")
def good(head: Series) -> Prediction:
    return examine(head, INPUTS)


@pytest.fixture
def gate(card: ModelCard) -> Callable[[Series], dict[str, Status]]:
    def look(series: Series) -> dict[str, Status]:
        return {f.name: f.status for f in assess(examine(series, INPUTS), card).findings}

    return look


def test_limits_follow_one_another_and_have_grounds() -> None:
    for name, limit in THRESHOLDS.items():
        assert limit.grounds, name
        assert limit.mend, name
        if limit.warn is not None and limit.fail is not None:
            assert (limit.warn < limit.fail) == (limit.bad == "above"), name


@pytest.mark.parametrize(
    ("bad", "value", "status"),
    [
        ("above", 1.0, Status.PASS),
        ("above", 1.5, Status.WARN),
        ("above", 2.5, Status.FAIL),
        ("below", 2.5, Status.PASS),
        ("below", 1.5, Status.WARN),
        ("below", 0.5, Status.FAIL),
        ("above", math.nan, Status.WARN),
        ("above", math.inf, Status.FAIL),
    ],
)
def test_judging(bad: str, value: float, status: Status) -> None:
    warn, fail = (1.0, 2.0) if bad == "above" else (2.0, 1.0)
    finding = judge("x", value, Threshold("the x", "mm", bad, warn, fail, "g", "mend it"))  # type: ignore[arg-type]
    assert finding.status is status
    assert bool(finding.reason) == (status is not Status.PASS)
    if math.isfinite(value) and status is not Status.PASS:
        assert finding.reason.startswith(f"the x is {value:.3g} mm, wanted at ")
        assert finding.reason.endswith("mend it")


def test_a_report_is_as_bad_as_its_worst_finding_and_names_it() -> None:
    rows = (
        Finding("a", Status.PASS, 1.0),
        Finding("b", Status.WARN, 2.0, "b is bad"),
        Finding("c", Status.FAIL, None, "c is worse"),
    )
    assert QualityReport(rows[:1]).summary == "PASS"
    assert QualityReport(rows[:2]).summary == "WARN b"
    report = QualityReport(rows)
    assert report.status is Status.FAIL
    assert report.summary == "FAIL c"
    assert report.reasons == ("FAIL c: c is worse", "WARN b: b is bad")
    assert json.loads(json.dumps(report.as_dict()))["status"] == "FAIL"


def test_nothing_is_wrong_with_a_good_series(good: Prediction, card: ModelCard) -> None:
    report = assess(good, card)
    assert report.status is Status.PASS, report.reasons
    assert {f.name for f in report.findings} > {
        "baseline_tsnr",
        "drop",
        "motion_left",
        "brain_misfit",
        "n_slices",
    }


@pytest.mark.slow
def test_the_gate_is_cheap(card: ModelCard) -> None:
    """Measures and judgement of a clinical series cost less than a third of a second of processor time."""
    series = head_series(shape=(128, 128, 20))[0]
    prediction = examine(series, INPUTS)
    from perfmap.preprocess.measures import measure_series

    began = time.process_time()
    measure_series(prediction.prepared)
    assess(prediction, card)
    assert time.process_time() - began < 0.3


@pytest.mark.parametrize(
    ("sidecar", "known"),
    [
        ({}, Acquisition()),
        ({"MagneticFieldStrength": 1.5, "PatientAge": "012Y"}, Acquisition(child=True)),
        ({"PatientAge": "060Y", "ScanningSequence": "EP"}, Acquisition(child=False)),
        ({"PatientAge": "018M"}, Acquisition(child=True)),
        ({"ScanningSequence": "EP_SE"}, Acquisition(spin_echo=True)),
        ({"ScanningSequence": ["GR", "EP"]}, Acquisition(spin_echo=False)),
        ({"PulseSequenceType": "Gradient Echo EPI"}, Acquisition(spin_echo=False)),
        ({"PulseSequenceType": "spin-echo"}, Acquisition(spin_echo=True)),
        ({"ContrastBolusIngredient": "Ferumoxytol"}, Acquisition(blood_pool_agent=True)),
        ({"ContrastBolusIngredient": "gadobutrol"}, Acquisition(blood_pool_agent=False)),
        ({"LossyImageCompression": "01"}, Acquisition(lossy=True)),
        ({"PatientAge": [], "ScanningSequence": 7}, Acquisition()),
        ({"PatientAge": True}, Acquisition()),
    ],
)
def test_what_a_sidecar_says(sidecar: dict[str, object], known: Acquisition) -> None:
    assert acquisition_of(sidecar) == known


@pytest.mark.parametrize(
    ("acquisition", "name", "status"),
    [
        (Acquisition(lossy=True), "lossy_source", Status.FAIL),
        (Acquisition(child=True), "child", Status.WARN),
        (Acquisition(blood_pool_agent=True), "blood_pool_agent", Status.WARN),
    ],
)
def test_facts_of_the_source(
    good: Prediction, card: ModelCard, acquisition: Acquisition, name: str, status: Status
) -> None:
    found = {f.name: f.status for f in assess(good, card, acquisition=acquisition).findings}
    assert found[name] is status


@pytest.mark.parametrize(("share", "is_bad"), [(0.11, False), (0.95, False), (1.05, True), (0.09, True)])
def test_a_network_that_reads_intensities_is_not_trusted_far_from_those_it_saw(
    good: Prediction, card: ModelCard, share: float, is_bad: bool
) -> None:
    brightest = float(np.quantile(good.prepared.baseline[good.prepared.mask], 0.99))
    inputs = InputContract(normalisation="training-max", training_max=brightest / share)
    reads_them = card.model_copy(update={"inputs": inputs})
    (finding,) = (f for f in assess(good, reads_them).findings if f.name == "intensities")
    assert finding.status is (Status.FAIL if is_bad else Status.PASS)
    assert finding.value == pytest.approx(share)
    assert "intensities" not in {f.name for f in assess(good, card).findings}


@pytest.fixture(scope="module")
def checkpoint(card: ModelCard) -> Checkpoint:
    torch.manual_seed(3)
    network = build_network("unet-gru", n_times=45, widths=(4, 4, 8, 8, 8)).eval().requires_grad_(False)
    return Checkpoint(card=card, network=network)


@pytest.fixture
def clipped(tmp_path: Path, head: Series) -> Path:
    """A series whose source was compressed with loss."""
    write_series(replace(head, grid=None), tmp_path / "dsc.nii.gz")
    (tmp_path / "dsc.json").write_text('{"LossyImageCompression": "01"}')
    return tmp_path / "dsc.nii.gz"


def test_strict_refuses_and_writes_nothing(clipped: Path, checkpoint: Checkpoint) -> None:
    before = sorted(clipped.parent.iterdir())
    with pytest.raises(QualityError, match="lossy_source") as raised:
        predict_file(
            clipped, clipped.parent / "map.nii.gz", checkpoint, PredictConfig(device="cpu"), strict=True
        )
    assert raised.value.exit_code == 5
    assert sorted(clipped.parent.iterdir()) == before


def test_without_strict_the_map_stands_with_its_reasons_beside_it(
    clipped: Path, checkpoint: Checkpoint
) -> None:
    done = predict_file(clipped, clipped.parent / "map.nii.gz", checkpoint, PredictConfig(device="cpu"))
    assert done.map_path.is_file()
    written = json.loads((clipped.parent / "map.json").read_text("utf-8"))["Quality"]
    assert written["status"] == "FAIL"
    assert written["findings"]["lossy_source"]["reason"]
    assert written == json.loads(json.dumps(done.quality.as_dict()))


def test_documented_limits_are_those_of_the_program() -> None:
    def text(value: float | None) -> str:
        return "" if value is None else f"{value:g}"

    page = (Path(__file__).parents[2] / "docs" / "quality.md").read_text("utf-8")
    for name, t in THRESHOLDS.items():
        cells = [name, t.what, t.unit, t.bad, text(t.warn), text(t.fail), t.grounds]
        assert f"| {' | '.join(cells)} |" in page


def truncated(series: Series) -> Series:
    peak = int(series.signal.reshape(-1, series.n_times).mean(axis=0).argmin())
    return replace(series, signal=series.signal[..., : peak + 2])


def clipped_at_half(series: Series) -> Series:
    brain = series.signal[series.signal[..., 0] > 300]
    return replace(series, signal=np.minimum(series.signal, np.float32(np.quantile(brain, 0.2))))


def moved(series: Series) -> Series:
    signal = series.signal.copy()
    signal[..., 30:] = np.roll(signal[..., 30:], 3, axis=0)  # 3 voxels of 2 mm
    return replace(series, signal=signal)


def repeated(series: Series) -> Series:
    signal = series.signal.copy()
    signal[..., 40] = signal[..., 39]
    return replace(series, signal=signal)


def noisy(series: Series) -> Series:
    noise = np.random.default_rng(0).normal(0, 150, series.signal.shape).astype(np.float32)
    return replace(series, signal=np.abs(series.signal + noise))


@pytest.mark.parametrize(
    ("spoil", "name", "status"),
    [
        (truncated, "after_peak", Status.FAIL),
        (clipped_at_half, "at_ceiling", Status.FAIL),
        (moved, "motion_left", Status.FAIL),
        (repeated, "repeated_volumes", Status.WARN),
        (noisy, "baseline_tsnr", Status.WARN),
        (lambda series: replace(series, echo_time=0.009), "echo_time_distance", Status.FAIL),
        (lambda series: replace(series, field_strength=7.0), "training_distance", Status.WARN),
        (lambda series: replace(series, flip_angle=15.0), "training_distance", Status.WARN),
        (
            lambda series: replace(series, time_step=4.0, repetition_time=4.0),
            "training_distance",
            Status.WARN,
        ),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_is_spoilt_is_named(
    head: Series,
    gate: Callable[[Series], dict[str, Status]],
    spoil: Callable[[Series], Series],
    name: str,
    status: Status,
) -> None:
    assert gate(spoil(head))[name] is status


def test_motion_is_judged_although_it_was_not_to_be_corrected(head: Series, checkpoint: Checkpoint) -> None:
    from perfmap.engine.predict import predict

    left = predict(moved(head), checkpoint, PredictConfig(device="cpu", motion_correction="off"))
    assert left.motion is None
    found = {f.name: f.status for f in assess(left, checkpoint.card).findings}
    assert found["motion_left"] is Status.FAIL
