"""Pictures of maps: orientation, window, grey, and equal bytes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from perfmap.errors import ConfigError, InputError
from perfmap.report.canvas import write_png
from perfmap.report.figures import MapPanel, map_figure
from perfmap.series import Volume

INFERNO = mpl.colormaps["inferno"]
GREY = (0x6F, 0x75, 0x7C)


def volume_of(array: NDArray[np.floating], edges: tuple[float, float, float] = (2.0, 2.0, 5.0)) -> Volume:
    return Volume(array.astype(np.float32), np.diag([*edges, 1.0]))


def brain(value: float = 1.0, n_slices: int = 4) -> NDArray[np.float64]:
    """A round brain of one value in a matrix of 24 × 20."""
    x, y = np.meshgrid(np.arange(24) - 11.5, np.arange(20) - 9.5, indexing="ij")
    return np.repeat(np.where(x**2 + y**2 < 64, value, 0.0)[..., None], n_slices, axis=2)


def pixels(png: bytes) -> NDArray[np.int_]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)


def where(image: NDArray[np.int_], colour: tuple[float, ...]) -> NDArray[np.bool_]:
    wanted = np.round(np.array(colour[:3]) * 255) if isinstance(colour[0], float) else np.array(colour)
    return (np.abs(image - wanted) <= 2).all(axis=-1)


def centre_of(found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean row and column."""
    assert found.any()
    return np.argwhere(found).mean(axis=0)


@pytest.mark.parametrize(
    ("slice_axis", "left", "top"),
    [(2, (0, +1), (1, +1)), (1, (0, +1), (2, +1)), (0, (1, +1), (2, +1))],
    ids=["axial", "coronal", "sagittal"],
)
def test_radiological_orientation(slice_axis: int, left: tuple[int, int], top: tuple[int, int]) -> None:
    """RAS+ axes point to R, A, S: the patient's right (sagittal: front) comes left, front (else head) on top."""
    edges = [2.0, 2.0, 2.0]
    edges[slice_axis] = 6.0
    shape = [16, 16, 16]
    shape[slice_axis] = 1
    for (axis, _), image_axis in ((left, 1), (top, 0)):
        array = np.ones(shape)
        spot: list[slice | int] = [slice(6, 9), slice(6, 9), slice(6, 9)]
        spot[slice_axis], spot[axis] = 0, slice(13, 16)  # far along +axis
        array[tuple(spot)] = 4.0
        image = pixels(map_figure(volume_of(array, tuple(edges)), "nrcbv"))[200:]
        bright, all_brain = (
            where(image, INFERNO(4 / 5)),
            where(image, INFERNO(1 / 5)) | where(image, INFERNO(4 / 5)),
        )
        # The colour bar holds both colours too, in one thin column: leave it out.
        bar = all_brain.sum(axis=0) < 50
        bright[:, bar] = all_brain[:, bar] = False
        assert centre_of(bright)[image_axis] < centre_of(all_brain)[image_axis] - 50


def test_voxels_keep_their_true_proportions() -> None:
    array = np.zeros((40, 40, 1))
    array[10:30, 15:25, 0] = 2.0  # 20 voxels of 1.5 mm along x, 10 of 3 mm along y: a square
    image = pixels(map_figure(volume_of(array, (1.5, 3.0, 8.0)), "nrcbv"))
    rows, columns = np.nonzero(where(image[200:, :1300], INFERNO(2 / 5)))
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(1.0, abs=0.03)


def test_the_window_is_the_same_for_every_patient() -> None:
    for hottest in (3.0, 50.0):
        array = brain()
        array[2, 9, 0] = hottest
        assert where(pixels(map_figure(volume_of(array), "nrcbv")), INFERNO(1 / 5)).sum() > 10_000


def test_an_arbitrary_scale_is_windowed_by_the_map_itself() -> None:
    array = brain()
    array[:12] *= 2.0
    figures = [map_figure(volume_of(scale * array), "rcbv") for scale in (1.0, 1000.0)]
    tiles = [pixels(figure)[220:, :1200] for figure in figures]
    assert where(tiles[0], INFERNO(1.0)).sum() > 10_000
    assert np.array_equal(*tiles)


def test_no_reading_is_grey_and_never_black_or_a_value() -> None:
    plain = pixels(map_figure(volume_of(brain()), "nrcbv"))
    assert where(plain, GREY).sum() < 2000  # edges of letters
    flagged = np.zeros(brain().shape, dtype=bool)
    flagged[10:14, 8:12, :] = True
    with_nan = np.where(flagged, np.nan, brain())
    for figure in (
        map_figure(volume_of(with_nan), "nrcbv"),
        map_figure(volume_of(with_nan), "nrcbv", mask=brain() > 0),
        map_figure(volume_of(np.where(flagged, 0.0, brain())), "nrcbv", no_reading=flagged),
        map_figure(volume_of(brain()), "nrcbv", mask=(brain() > 0) & ~flagged, no_reading=flagged),
    ):
        image = pixels(figure)
        assert where(image, GREY).sum() / where(image, INFERNO(1 / 5)).sum() == pytest.approx(
            flagged.sum() / ((brain() > 0) & ~flagged).sum(), rel=0.1
        )


def test_nan_outside_of_the_brain_is_background() -> None:
    array = np.where(brain() > 0, brain(), np.nan)
    assert where(pixels(map_figure(volume_of(array), "nrcbv")), GREY).sum() < 2000


def test_k2_has_its_middle_at_zero() -> None:
    image = pixels(map_figure(volume_of(np.where(brain() > 0, 1e-9, 0.0)), "k2"))
    assert where(image, mpl.colormaps["coolwarm"](0.5)).sum() > 10_000


def test_a_second_map_lies_to_the_right_in_its_own_window() -> None:
    beside = MapPanel(volume_of(brain(200.0)), "ap_rcbv", "CaPTk")
    image = pixels(map_figure(volume_of(brain(1.0)), "nrcbv", title="network", beside=beside))
    left, right = where(image, INFERNO(1 / 5)), where(image, INFERNO(200 / 255))
    assert left.sum() > 10_000
    assert right.sum() > 10_000
    assert centre_of(left)[1] < 0.4 * image.shape[1]
    assert centre_of(right)[1] > 0.5 * image.shape[1]


def test_many_slices_are_thinned_evenly() -> None:
    array = brain(n_slices=60)
    array[..., 30:] = 2.0 * array[..., 30:]
    image = pixels(map_figure(volume_of(array), "nrcbv", max_slices=12))[200:]
    low, high = where(image, INFERNO(1 / 5)).sum(), where(image, INFERNO(2 / 5)).sum()
    assert low == pytest.approx(high, rel=0.1)
    fewer = pixels(map_figure(volume_of(array[..., :12]), "nrcbv", max_slices=12))[200:]
    assert where(fewer, INFERNO(1 / 5)).sum() == pytest.approx(low + high, rel=0.1)


def test_equal_input_gives_equal_bytes_whatever_the_user_has_set() -> None:
    before = map_figure(volume_of(brain()), "nrcbv", title="a")
    with mpl.rc_context(
        {"font.size": 20.0, "image.cmap": "jet", "savefig.dpi": 30, "savefig.facecolor": "red"}
    ):
        assert map_figure(volume_of(brain()), "nrcbv", title="a") == before
        assert mpl.rcParams["font.size"] == 20.0
    assert map_figure(volume_of(brain()), "nrcbv", title="b") != before
    assert Image.open(io.BytesIO(before)).info.keys() == {"dpi"}


def test_pyplot_stays_out() -> None:
    code = "import sys, perfmap.report.figures, perfmap.report.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_refusals() -> None:
    good = volume_of(brain())
    with pytest.raises(InputError, match="'blood' is unknown"):
        map_figure(good, "blood")
    with pytest.raises(InputError, match="no voxel to draw"):
        map_figure(volume_of(np.zeros((9, 9, 2))), "nrcbv")
    with pytest.raises(InputError, match="mask has shape"):
        map_figure(good, "nrcbv", mask=np.ones((2, 2, 2), dtype=bool))
    with pytest.raises(InputError, match="map beside has shape"):
        map_figure(good, "nrcbv", beside=MapPanel(volume_of(brain(n_slices=2)), "nrcbv", ""))


def test_a_picture_is_not_overwritten_unasked(tmp_path: Path) -> None:
    png = map_figure(volume_of(brain()), "nrcbv")
    write_png(png, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == png
    with pytest.raises(ConfigError, match="exists"):
        write_png(png, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
