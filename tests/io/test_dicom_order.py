from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perfmap.errors import InputError
from perfmap.io.dicom_frames import Frame
from perfmap.io.dicom_stack import Arranged, arrange, stacks_of
from tests.dicom_records import frame, series, silent

CLOCKS = ("acquisition_time", "content_time", "trigger_time")


def arranged(frames: list[Frame]) -> Arranged:
    return arrange(stacks_of(frames)[0])


def times_of(found: Arranged) -> list[str]:
    """Volume by which each frame was made, from its UID, in the order found."""
    return [volume[0].sop_uid.split(".")[1] for volume in found.order.grid]


IN_ORDER = [str(t) for t in range(24)]


def test_files_in_any_order_give_the_order_of_time() -> None:
    frames = series()
    shuffled = [frames[i] for i in np.random.default_rng(0).permutation(len(frames))]
    found = arranged(shuffled)
    assert times_of(found) == IN_ORDER
    assert [one.sop_uid for one in found.order.grid[5]] == ["1.5.0", "1.5.1", "1.5.2"]
    assert found.notes == ()


def test_slice_by_slice_and_volume_by_volume_numbering_give_the_same() -> None:
    by_slice = [
        replace(one, instance_number=k * 24 + t + 1)
        for one, (t, k) in zip(series(), [(t, k) for t in range(24) for k in range(3)], strict=True)
    ]
    assert times_of(arranged(by_slice)) == IN_ORDER


def test_shuffled_instance_numbers_are_overruled_by_the_clocks_and_said_so() -> None:
    numbers = np.random.default_rng(1).permutation(24 * 3) + 1
    found = arranged([replace(one, instance_number=int(n)) for one, n in zip(series(), numbers, strict=True)])
    assert times_of(found) == IN_ORDER
    assert "InstanceNumber would have given another" in " ".join(found.notes)


def test_reversed_numbering_is_put_right() -> None:
    found = arranged([replace(one, instance_number=1000 - (one.instance_number or 0)) for one in series()])
    assert times_of(found) == IN_ORDER


def test_equal_evidence_for_two_orders_is_refused_with_both_named() -> None:
    bare = silent(series(), *CLOCKS, "temporal_position")
    backwards = [replace(one, acquisition_number=100 - (one.acquisition_number or 0)) for one in bare]
    with pytest.raises(InputError, match=r"contradictory.*AcquisitionNumber.*InstanceNumber"):
        arranged(backwards)


def test_nothing_that_tells_the_volumes_apart_is_refused() -> None:
    bare = silent(series(), *CLOCKS, "temporal_position", "acquisition_number", "instance_number")
    with pytest.raises(InputError, match="order of the volumes cannot be known"):
        arranged(bare)


def test_deidentified_series_keeps_its_numbers_and_says_what_they_rest_on() -> None:
    found = arranged(silent(series(), *CLOCKS, "temporal_position", "acquisition_number"))
    assert times_of(found) == IN_ORDER
    assert "rests on InstanceNumber alone" in " ".join(found.notes)


def test_midnight_is_not_the_start_of_the_series() -> None:
    late = [
        replace(one, acquisition_time=(86_390.0 + 1.5 * t) % 86_400.0, content_time=None)
        for one, t in zip(series(), np.repeat(range(24), 3), strict=True)
    ]
    assert times_of(arranged(late)) == IN_ORDER


@pytest.mark.parametrize("name", ["clock", "temporal_position", "instance_number"])
def test_aborted_last_volume_is_dropped(name: str) -> None:
    frames = series()[:-2]
    if name != "clock":
        others = {*CLOCKS, "temporal_position", "acquisition_number", "instance_number"} - {name}
        frames = silent(frames, *others)
    found = arranged(frames)
    assert found.n_volumes == 23
    assert "last volume holds 1 of 3 slices" in found.notes[0]


def test_slice_missing_in_the_middle_is_refused_with_its_volume() -> None:
    frames = [one for one in series() if one.sop_uid != "1.10.1"]
    with pytest.raises(InputError, match="slices are missing: volume 11 holds 2 of 3"):
        arranged(frames)


def test_position_missing_throughout_is_refused() -> None:
    frames = [one for one in series(n_slices=5) if one.position != (0.0, 0.0, 10.0)]
    with pytest.raises(InputError, match="not evenly stacked"):
        arranged(frames)


def test_two_interleaved_acquisitions_are_refused() -> None:
    both = [*series(), *(replace(one, sop_uid="2" + one.sop_uid) for one in series())]
    with pytest.raises(InputError, match="2 acquisitions are interleaved"):
        arranged(both)


def test_slices_that_move_between_volumes_are_refused() -> None:
    frames = [frame(t, k, position=(0.5 * t, 0.0, 5.0 * k)) for t in range(24) for k in range(3)]
    with pytest.raises(InputError, match=r"changes by 11\.5 mm"):
        arranged(frames)


def test_echoes_components_and_matrices_are_never_stacked_together() -> None:
    frames = series(4) + series(4, echo_time=0.05) + series(4, component="phase") + series(4, rows=128)
    assert len(stacks_of(frames)) == 4


def test_cosines_that_differ_by_rounding_are_one_orientation() -> None:
    tilted = (1.0, 0.0, 0.00004, 0.0, 1.0, 0.0)
    frames = [replace(one, orientation=tilted) if i % 2 else one for i, one in enumerate(series(4))]
    assert len(stacks_of(frames)) == 1
