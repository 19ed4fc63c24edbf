"""Any orientation in, RAS+ inside, exactly the same grid out; nibabel is the judge of both."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from perfmap.errors import ConfigError, InputError, PerfmapWarning
from perfmap.io.nifti import MIN_VOLUMES, read_series, read_volume, write_series, write_volume
from perfmap.physics.series_quality import repeated_volumes
from perfmap.series import Series, Volume

SHAPE = (4, 5, 6)
OBLIQUE = np.array(
    [[-1.7, 0.21, 0.4, 88.5], [0.18, 1.74, -0.9, -101.25], [0.18, 0.51, 4.9, -40.75], [0, 0, 0, 1]]
)  # columns nearly, not exactly, orthogonal: what float32 headers hold


def affine_of(codes: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Affine of a file whose axes run along `codes`, voxels of 1.75 × 2 × 5 mm in RAS+, off the origin."""
    ras = np.diag([1.75, 2.0, 5.0, 1.0])
    ras[:3, 3] = -20.5, 31.25, 7.0
    return ras @ inv_ornt_aff(axcodes2ornt(codes), shape)


def rigid_oblique() -> np.ndarray:
    """A rotated affine without shear, so that a qform can hold it."""
    tilt, turn = np.deg2rad(17), np.deg2rad(-8)
    about_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    about_z = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_z) @ np.array(about_x) @ np.diag([-1.8, 1.8, 5])
    affine[:3, 3] = 100, -90, -30
    return affine


AFFINES = {codes: affine_of(codes) for codes in ("RAS", "LAS", "LPS", "RPI", "PSR", "ASL", "IPL")}
AFFINES |= {"oblique": rigid_oblique()}


def save(
    path: Path,
    data: np.ndarray,
    affine: np.ndarray | None = None,
    *,
    qform: tuple[np.ndarray | None, int] | None = None,
    sform: tuple[np.ndarray | None, int] | None = None,
    step: float = 1.5,
    units: tuple[str, str] = ("mm", "sec"),
    kind: Any = nib.Nifti1Image,
) -> Path:
    """Write with nibabel; q- and sform as given, both with code 1 otherwise."""
    affine = AFFINES["RAS"] if affine is None else affine
    image = kind(data, affine)
    image.set_qform(*(qform or (affine, 1)))
    image.set_sform(*(sform or (affine, 1)))
    image.header.set_xyzt_units(*units)
    if data.ndim > 3:
        image.header["pixdim"][4] = step
    nib.save(image, path)
    return path


def noise(shape: tuple[int, ...] = (*SHAPE, MIN_VOLUMES), dtype: Any = np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2000, shape).astype(dtype)


def one_volume(series: Series, index: int = 3) -> Volume:
    return Volume(series.signal[..., index], series.affine)


def assert_same_header(written: Path, source: Path) -> None:
    out, wanted = nib.load(written), nib.load(source)
    assert out.shape == wanted.shape[:3]
    np.testing.assert_array_equal(out.affine, wanted.affine)
    for get in ("get_qform", "get_sform"):
        (seen, seen_code), (affine, code) = getattr(out, get)(coded=True), getattr(wanted, get)(coded=True)
        assert seen_code == code
        if code:
            np.testing.assert_allclose(seen, affine, rtol=0, atol=1e-5)
    assert out.header.get_xyzt_units() == wanted.header.get_xyzt_units()
    np.testing.assert_array_equal(out.header.get_zooms(), wanted.header.get_zooms()[:3])


@pytest.mark.parametrize("name", AFFINES)
def test_inside_it_is_ras_whatever_the_file(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "dsc.nii.gz", noise(), AFFINES[name])
    series = read_series(path)
    wanted = nib.as_closest_canonical(nib.load(path))
    assert nib.aff2axcodes(series.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(series.signal, wanted.get_fdata())
    np.testing.assert_allclose(series.affine, wanted.affine, atol=1e-12)
    assert series.signal.dtype == np.float32


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", AFFINES)
def test_map_comes_back_onto_exactly_the_grid_of_the_input(tmp_path: Path, name: str, suffix: str) -> None:
    data = noise()
    source = save(tmp_path / f"dsc{suffix}", data, AFFINES[name])
    series = read_series(source)
    write_volume(one_volume(series), tmp_path / f"map{suffix}", grid=series.grid)
    assert_same_header(tmp_path / f"map{suffix}", source)
    np.testing.assert_array_equal(nib.load(tmp_path / f"map{suffix}").get_fdata(), data[..., 3])


@pytest.mark.parametrize("units", [("mm", "sec"), ("unknown", "unknown"), ("micron", "msec")])
@pytest.mark.parametrize(
    ("qform", "sform"),
    [
        ((AFFINES["LAS"], 1), (None, 0)),
        ((None, 0), (AFFINES["LPS"], 2)),
        ((AFFINES["oblique"], 1), (OBLIQUE, 4)),
        ((AFFINES["LAS"], 3), (AFFINES["RAS"], 1)),
    ],
    ids=["qform only", "sform only", "both, sheared", "both, mirrored"],
)
@pytest.mark.filterwarnings("ignore::perfmap.errors.PerfmapWarning")
def test_codes_affines_and_units_are_those_of_the_input(
    tmp_path: Path, qform: Any, sform: Any, units: tuple[str, str]
) -> None:
    source = save(tmp_path / "dsc.nii", noise(), qform=qform, sform=sform, units=units)
    series = read_series(source, time_step=1.5)
    write_volume(one_volume(series), tmp_path / "map.nii", grid=series.grid)
    assert_same_header(tmp_path / "map.nii", source)


def test_sform_is_used_where_both_stand_and_a_difference_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "dsc.nii", noise(), qform=(AFFINES["LAS"], 1), sform=(AFFINES["RAS"], 1))
    with pytest.warns(PerfmapWarning, match="qform and sform differ"):
        series = read_series(path)
    np.testing.assert_allclose(series.affine, AFFINES["RAS"])
    assert len(series.notes) == 1


def test_file_without_orientation_says_so(tmp_path: Path) -> None:
    path = save(tmp_path / "dsc.nii", noise(), qform=(None, 0), sform=(None, 0))
    with pytest.warns(PerfmapWarning, match="left and right"):
        series = read_series(path)
    write_volume(one_volume(series), tmp_path / "map.nii", grid=series.grid)
    assert_same_header(tmp_path / "map.nii", path)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    angles=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    zooms=st.tuples(*[st.floats(0.3, 8)] * 3),
    offset=st.tuples(*[st.floats(-300, 300)] * 3),
    shape=st.tuples(*[st.integers(1, 4)] * 3),
)
def test_every_rigid_grid_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
    flips: tuple[int, ...],
    angles: tuple[float, ...],
    zooms: tuple[float, ...],
    offset: tuple[float, ...],
    shape: tuple[int, ...],
) -> None:
    rotation = nib.eulerangles.euler2mat(*angles)
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(flips)[:, order] @ np.diag(zooms)
    affine[:3, 3] = offset
    folder = tmp_path_factory.mktemp("grid")
    data = noise((*shape, MIN_VOLUMES))
    source = save(folder / "dsc.nii", data, affine)
    series = read_series(source)
    # A voxel keeps its place in the world and its value: the brightest one of the last volume.
    inside = np.unravel_index(np.argmax(series.signal[..., -1]), series.signal.shape[:3])
    outside = np.unravel_index(np.argmax(np.transpose(data[..., -1])), shape[::-1])[::-1]
    if np.count_nonzero(data[..., -1] == data[..., -1].max()) == 1:
        place = series.affine @ [*inside, 1]
        np.testing.assert_allclose(place, nib.load(source).affine @ [*outside, 1], atol=1e-3)
    write_volume(one_volume(series), folder / "map.nii", grid=series.grid)
    assert_same_header(folder / "map.nii", source)
    np.testing.assert_array_equal(nib.load(folder / "map.nii").get_fdata(), data[..., 3])


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "<u2", "<i4", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_types_and_byte_orders_are_read_as_nibabel_reads_them(tmp_path: Path, dtype: str, kind: Any) -> None:
    data = np.random.default_rng(1).integers(0, 200, (*SHAPE, MIN_VOLUMES)).astype(dtype)
    header = kind.header_class(endianness=np.dtype(dtype).str[0] if dtype[0] in "<>" else "<")
    image = kind(data, AFFINES["LPS"], header)
    image.set_data_dtype(dtype)
    path = tmp_path / "dsc.nii.gz"
    nib.save(image, path)
    series = read_series(path, time_step=1.5)
    np.testing.assert_array_equal(series.signal, nib.as_closest_canonical(nib.load(path)).get_fdata())


def test_scaled_integers_are_scaled(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(), AFFINES["LAS"])
    image.header.set_slope_inter(0.037, -12.5)
    nib.save(image, tmp_path / "dsc.nii.gz")
    reloaded = nib.as_closest_canonical(nib.load(tmp_path / "dsc.nii.gz"))
    assert nib.load(tmp_path / "dsc.nii.gz").dataobj.slope == pytest.approx(0.037)
    series = read_series(tmp_path / "dsc.nii.gz", time_step=1.5)
    np.testing.assert_allclose(series.signal, reloaded.get_fdata(), rtol=2e-7, atol=1e-5)


def test_extensions_and_an_unset_qfac_change_nothing(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(), AFFINES["RAS"])
    image.set_qform(AFFINES["RAS"], 1)
    image.set_sform(None, 0)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"written by a scanner"))
    nib.save(image, tmp_path / "dsc.nii")
    series = read_series(
        with_header(tmp_path / "dsc.nii", pixdim=[0, 1.75, 2, 5, 1.5, 0, 0, 0]), time_step=1.5
    )
    np.testing.assert_array_equal(series.signal, noise())
    np.testing.assert_allclose(series.affine, AFFINES["RAS"], atol=1e-6)


def test_memory_is_the_series_and_little_more(tmp_path: Path) -> None:
    """A 240 × 240 × 155 × 45 series has to fit beside the network into 4 GB: no second copy of it."""
    data = noise((40, 40, 20, 40))
    path = save(tmp_path / "dsc.nii.gz", data, AFFINES["PSR"])
    tracemalloc.start()
    try:
        series = read_series(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * series.signal.nbytes
    assert min(series.signal.strides) > 0  # torch takes no array that runs backwards


def test_times_come_from_header_and_sidecar(tmp_path: Path) -> None:
    path = save(tmp_path / "dsc.nii.gz", noise(), step=1500, units=("mm", "msec"))
    content = {"RepetitionTime": 1.5, "RepetitionTimeExcitation": 0.75, "EchoTime": 0.03}
    (tmp_path / "dsc.json").write_text(json.dumps(content))
    series = read_series(path)
    assert (series.time_step, series.repetition_time, series.echo_time) == (1.5, 0.75, 0.03)
    assert series.notes == ()
    assert read_series(path, echo_time=0.04).echo_time == 0.04


def test_flip_angle_and_field_come_from_the_sidecar_or_are_unknown(tmp_path: Path) -> None:
    path = save(tmp_path / "dsc.nii.gz", noise(), step=1.5)
    series = read_series(path)
    assert (series.flip_angle, series.field_strength) == (None, None)
    (tmp_path / "dsc.json").write_text(json.dumps({"FlipAngle": 90, "MagneticFieldStrength": 1.5}))
    series = read_series(path)
    assert (series.flip_angle, series.field_strength) == (90.0, 1.5)
    series = read_series(path, flip_angle=35.0, field_strength=3.0)
    assert (series.flip_angle, series.field_strength) == (35.0, 3.0)
    (tmp_path / "dsc.json").write_text(json.dumps({"FlipAngle": [90, 70]}))
    with pytest.warns(PerfmapWarning, match="sidecar FlipAngle is"):
        assert read_series(path).flip_angle is None


def test_doubtful_time_is_a_warning_and_a_note(tmp_path: Path) -> None:
    path = save(tmp_path / "dsc.nii", noise(), units=("mm", "unknown"))
    with pytest.warns(PerfmapWarning, match=r"dsc\.nii: pixdim\[4\] = 1\.5 has no unit"):
        series = read_series(path)
    assert series.time_step == 1.5
    assert series.notes[0].startswith("pixdim[4] = 1.5 has no unit")


def test_empty_volumes_at_the_end_are_left_out_and_told(tmp_path: Path) -> None:
    signal = np.random.default_rng(0).random((*SHAPE, 30), dtype=np.float32) + 1.0
    signal[..., 27:] = 0.0
    path = tmp_path / "padded.nii.gz"
    write_series(Series(signal, affine_of("RAS"), 1.5, 1.5), path)
    with pytest.warns(PerfmapWarning, match="the last 3 of 30 volumes are 0 throughout and are left out"):
        series = read_series(path)
    np.testing.assert_array_equal(series.signal, signal[..., :27])
    assert any("left out" in note for note in series.notes)
    signal[..., 4:] = 0.0
    write_series(Series(signal, affine_of("RAS"), 1.5, 1.5), path, overwrite=True)
    with pytest.raises(InputError, match="26 of 30 volumes are 0 throughout"):
        read_series(path)


def test_lost_volumes_are_cut_at_the_start_and_repeat_the_one_before_elsewhere(tmp_path: Path) -> None:
    """Never the first image: repeated, a bright one would be taken for a steady signal with a bolus behind it."""
    whole = np.random.default_rng(0).random((*SHAPE, 30), dtype=np.float32) + 1.0
    signal = whole.copy()
    signal[..., [0, 1, 9, 10, 20]] = 0.0
    path = tmp_path / "lost.nii.gz"
    write_series(Series(signal, affine_of("RAS"), 1.5, 1.5), path)
    with pytest.warns(PerfmapWarning) as warned:
        series = read_series(path)
    assert [str(w.message).partition(": ")[2] for w in warned] == [
        "the first 2 of 30 volumes are 0 throughout and are left out",
        "volumes 9, 10, 20 (counted from 0; 3 of 30) are 0 throughout and repeat the one before them",
    ]
    whole[..., [9, 10, 20]] = whole[..., [8, 8, 19]]
    np.testing.assert_array_equal(series.signal, whole[..., 2:])
    assert repeated_volumes(series.signal.reshape(-1, 28)) == (7, 8, 18)  # the quality gate counts them


@pytest.mark.parametrize(
    "shape", [SHAPE, (*SHAPE, 20, 1), (*SHAPE, 20, 3), (*SHAPE, 19), (*SHAPE, 1), (8, 9)]
)
def test_shapes_that_are_no_series_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "dsc.nii.gz", noise(shape))
    with pytest.raises(InputError, match=r"exactly 4 axes|at least 20"):
        read_series(path)


def damage(data: bytes, how: str) -> bytes:
    middle = len(data) // 2
    return {
        "cut": data[:middle],
        "cut by one": data[:-1],
        "cut in the header": data[:100],
        "flipped": data[:middle]
        + bytes(255 - byte for byte in data[middle : middle + 50])
        + data[middle + 50 :],
        "empty": b"",
        "text": b"this is not an image\n" * 50,
        "zeros": bytes(5000),
    }[how]


@pytest.mark.parametrize("how", ["cut", "cut by one", "cut in the header", "empty", "text", "zeros"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged_file_is_refused(tmp_path: Path, suffix: str, how: str) -> None:
    path = save(tmp_path / f"dsc{suffix}", noise())
    path.write_bytes(damage(path.read_bytes(), how))
    with pytest.raises(InputError, match=r"truncated|damaged|not a NIfTI"):
        read_series(path)


def test_flipped_bytes_in_a_compressed_file_are_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "dsc.nii.gz", noise())
    path.write_bytes(damage(path.read_bytes(), "flipped"))
    with pytest.raises(InputError, match="damaged"):
        read_series(path)


def test_header_that_promises_more_than_the_file_can_hold_is_refused_at_once(tmp_path: Path) -> None:
    path = save(tmp_path / "dsc.nii", noise())
    data = bytearray(path.read_bytes())
    data[42:50] = np.array([30000] * 4, "<i2").tobytes()
    path.write_bytes(data)
    with pytest.raises(InputError, match="truncated"):
        read_series(path)
    (tmp_path / "dsc.nii.gz").write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(InputError, match="truncated"):
        read_series(tmp_path / "dsc.nii.gz")


def test_other_things_than_nifti_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_series(tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match="is a folder"):
        read_series(tmp_path)
    nib.save(nib.Nifti1Pair(noise(), np.eye(4)), tmp_path / "pair.img")
    with pytest.raises(InputError, match="pair"):
        read_series(tmp_path / "pair.hdr")
    nib.save(nib.Nifti1Image(noise().astype(np.complex64), np.eye(4)), tmp_path / "complex.nii")
    with pytest.raises(InputError, match="real numbers"):
        read_series(tmp_path / "complex.nii")


def with_header(path: Path, **fields: object) -> Path:
    """Change header fields of an uncompressed file in place, without nibabel's repairs."""
    data = path.read_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + data[348:])
    return path


@pytest.mark.parametrize(
    "fields",
    [
        {"srow_x": 0},
        {"srow_x": np.nan},
        {"sform_code": 0, "quatern_b": 2},
        {"sform_code": 0, "pixdim": [1, 0, 1, 1, 1.5, 0, 0, 0]},
        {"sform_code": 0, "pixdim": [1, -2, 1, 1, 1.5, 0, 0, 0]},
        {"datatype": 4242},
        {"dim": [4, 4, 5, 0, 20, 1, 1, 1]},
        {"dim": [9, 4, 5, 6, 20, 1, 1, 1]},
        {"vox_offset": 10},
        {"vox_offset": np.nan},
        {"scl_slope": 2, "scl_inter": np.nan},
    ],
    ids=str,
)
def test_unusable_header_is_refused_in_one_line(tmp_path: Path, fields: dict[str, object]) -> None:
    path = with_header(save(tmp_path / "dsc.nii", noise()), **fields)
    with pytest.raises(InputError) as refusal:
        read_series(path)
    assert "dsc.nii" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(position=st.integers(0, 351), value=st.integers(0, 255))
def test_no_damage_to_the_header_is_an_internal_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = save(tmp_path_factory.mktemp("fuzz") / "dsc.nii", noise())
    data = bytearray(path.read_bytes())
    data[position] = value
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PerfmapWarning)
        try:
            series = read_series(path)
        except InputError:
            return
    assert series.n_times >= MIN_VOLUMES


def test_mask_is_turned_to_the_series_whatever_its_own_axes(tmp_path: Path) -> None:
    series = read_series(save(tmp_path / "dsc.nii.gz", noise(), AFFINES["LPS"]))
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 2, 3] = 1
    image = nib.Nifti1Image(mask, AFFINES["LPS"])
    turned = image.as_reoriented(axcodes2ornt("SAR"))
    nib.save(turned, tmp_path / "mask.nii.gz")
    volume = read_volume(tmp_path / "mask.nii.gz", like=series)
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array, nib.as_closest_canonical(image).get_fdata())


def test_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    series = read_series(save(tmp_path / "dsc.nii.gz", noise(), AFFINES["RAS"]))
    wrong_shape = save(tmp_path / "shape.nii", noise((4, 5, 7)), AFFINES["RAS"])
    with pytest.raises(InputError, match=r"shape\.nii.*\(4, 5, 7\).*\(4, 5, 6\)"):
        read_volume(wrong_shape, like=series)
    shifted = AFFINES["RAS"].copy()
    shifted[0, 3] += 0.01
    with pytest.raises(InputError, match=r"shifted\.nii.*0\.01 mm"):
        read_volume(save(tmp_path / "shifted.nii", noise(SHAPE), shifted), like=series)
    shifted[0, 3] -= 0.0095
    assert read_volume(save(tmp_path / "near.nii", noise(SHAPE), shifted), like=series).shape == SHAPE


def test_volume_may_have_empty_further_axes_but_not_more_volumes(tmp_path: Path) -> None:
    assert read_volume(save(tmp_path / "one.nii", noise((*SHAPE, 1)))).shape == SHAPE
    with pytest.raises(InputError, match="one volume"):
        read_volume(save(tmp_path / "two.nii", noise((*SHAPE, 2))))


def test_equal_volumes_give_equal_bytes_under_any_name(tmp_path: Path) -> None:
    series = read_series(save(tmp_path / "dsc.nii.gz", noise()))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(one_volume(series), tmp_path / name, grid=series.grid)
    data = (tmp_path / "a.nii.gz").read_bytes()
    assert data == (tmp_path / "b.nii.gz").read_bytes()
    assert data[3:8] == bytes(5)  # gzip: no name, no time


def test_existing_map_is_kept_unless_asked(tmp_path: Path) -> None:
    series = read_series(save(tmp_path / "dsc.nii", noise()))
    path = tmp_path / "map.nii"
    write_volume(one_volume(series), path, grid=series.grid)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="--overwrite"):
        write_volume(one_volume(series, 4), path, grid=series.grid)
    assert path.read_bytes() == before
    write_volume(one_volume(series, 4), path, grid=series.grid, overwrite=True)
    assert path.read_bytes() != before


def test_volume_that_does_not_lie_on_the_grid_is_not_written(tmp_path: Path) -> None:
    series = read_series(save(tmp_path / "dsc.nii", noise(), AFFINES["PSR"]))
    for wrong in (
        Volume(series.signal[:-1, ..., 0], series.affine),
        Volume(series.signal[..., 0], series.affine + np.diag([0, 0, 0.1, 0])),
    ):
        with pytest.raises(InputError, match="grid"):
            write_volume(wrong, tmp_path / "map.nii", grid=series.grid)
    with pytest.raises(InputError, match=r"\.nii"):
        write_volume(one_volume(series), tmp_path / "map.png", grid=series.grid)
    assert not (tmp_path / "map.nii").exists()


def test_series_written_reads_back_as_it_was(tmp_path: Path) -> None:
    signal = noise((*SHAPE, 25), np.float32) / 7
    series = Series(signal, rigid_oblique() @ np.diag([-1, 1, 1, 1]), time_step=1.243, repetition_time=1.243)
    write_series(series, tmp_path / "dsc.nii.gz")
    back = read_series(tmp_path / "dsc.nii.gz")
    np.testing.assert_array_equal(back.signal, signal)
    np.testing.assert_allclose(back.affine, series.affine, atol=1e-5)
    assert back.time_step == pytest.approx(1.243, rel=1e-6)
    assert back.notes == ()
    assert nib.load(tmp_path / "dsc.nii.gz").header.get_xyzt_units() == ("mm", "sec")


def test_labels_are_written_as_integers(tmp_path: Path) -> None:
    labels = noise(SHAPE, np.uint8)
    write_volume(Volume(labels, AFFINES["RAS"]), tmp_path / "labels.nii.gz", grid=None, dtype=np.uint8)
    assert nib.load(tmp_path / "labels.nii.gz").get_data_dtype() == np.uint8
    np.testing.assert_array_equal(read_volume(tmp_path / "labels.nii.gz").array, labels)


def test_codes_that_only_nifti_2_can_hold_do_not_stop_the_map(tmp_path: Path) -> None:
    """Found by the fuzzer: NIfTI-2 has 32 bits for a code, the map's header 16."""
    image = nib.Nifti2Image(noise(), AFFINES["LAS"])
    image.header["qform_code"], image.header["sform_code"] = 2**31 - 1, 70_000
    nib.save(image, tmp_path / "dsc.nii")
    series = read_series(tmp_path / "dsc.nii", time_step=1.5)
    write_volume(Volume(series.signal[..., 0], series.affine), tmp_path / "map.nii", grid=series.grid)
    written = nib.load(tmp_path / "map.nii")
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (1, 1)
