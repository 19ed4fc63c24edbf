"""The table of priors: ranges, known values, and draws that stay inside."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from perfmap.errors import ConfigError
from perfmap.phantom.priors import FIELD_STRENGTHS, LABELS, TISSUE, Choice, Places, Prior, draw
from perfmap.phantom.priors.subject import LESION_BLOOD
from perfmap.phantom.priors.table import TABLE, markdown
from perfmap.phantom.priors.tissue import RELATIVE_SPREAD

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "prior",
    [
        Prior(1.0, 3.0, "s", "M"),
        Prior(0.3, 12.0, "", "D", "log_uniform"),
        Prior(1.0, 3.0, "", "M", "normal", 2.0, 2.0),
        Prior(0.02, 0.35, "1/min", "M", "log_normal", 0.08, 0.7),
    ],
    ids=lambda prior: prior.shape,
)
def test_draws_fill_the_range_and_never_leave_it(prior: Prior) -> None:
    rng = np.random.default_rng(0)
    values = np.array([draw(prior, rng) for _ in range(2000)])
    assert values.min() >= prior.low
    assert values.max() <= prior.high
    middle = {
        "uniform": 2.0,
        "log_uniform": np.sqrt(0.3 * 12.0),
        "normal": 2.0,
        "log_normal": 0.08,
    }[prior.shape]
    assert np.median(values) == pytest.approx(middle, rel=0.1)


def test_lesion_cbv_is_as_often_below_as_above_any_ratio() -> None:
    """Log-uniform: each octave of nrCBV is drawn equally often."""
    rng = np.random.default_rng(1)
    values = np.array([draw(LESION_BLOOD["nrcbv"], rng) for _ in range(8000)])
    octaves = [np.mean((values >= low) & (values < 2 * low)) for low in (0.3, 0.6, 1.2, 2.4, 4.8)]
    np.testing.assert_allclose(octaves, np.log(2) / np.log(12 / 0.3), atol=0.02)


@pytest.mark.parametrize(("low", "high", "shape"), [(2.0, 1.0, "uniform"), (0.0, 1.0, "log_uniform")])
def test_a_senseless_range_is_refused(low: float, high: float, shape: str) -> None:
    with pytest.raises(ConfigError, match="prior has range"):
        Prior(low, high, "", "M", shape)  # type: ignore[arg-type]


def test_every_class_has_a_row_in_the_tissue_table() -> None:
    assert set(TISSUE) == set(LABELS) - {"background"}
    assert len(set(LABELS.values())) == len(LABELS)


@pytest.mark.parametrize(
    ("name", "t1_15", "t1_30"), [("gm", 1.12, 1.82), ("wm", 0.88, 1.08), ("csf", 4.2, 4.2)]
)
def test_published_t1(name: str, t1_15: float, t1_30: float) -> None:
    prior = TISSUE[name].t1
    assert (prior[1.5].mean, prior[3.0].mean) == (t1_15, t1_30)
    assert prior[3.0].source == "V"


@pytest.mark.parametrize("name", ["gm", "wm", "deep_gm", "vessel_artery", "vessel_vein"])
def test_t2star_shortens_with_the_field_and_is_below_t2(name: str) -> None:
    prior = TISSUE[name]
    assert prior.t2star[3.0].mean < prior.t2star[1.5].mean
    for field in FIELD_STRENGTHS:
        assert prior.t2star[field].mean < prior.t2[field].mean < prior.t1[field].mean


def test_times_are_seconds() -> None:
    for prior in TISSUE.values():
        for table in (prior.t1, prior.t2star, prior.t2):
            assert set(table) == set(FIELD_STRENGTHS)
            assert all(p.unit == "s" and p.low > 0.01 and p.high < 6.0 for p in table.values())


def test_blood_is_blood_and_healthy_brain_keeps_its_barrier() -> None:
    for name in ("vessel_artery", "vessel_vein"):
        assert TISSUE[name].cbv.low == TISSUE[name].cbv.high == 100.0
    for name in ("gm", "wm", "deep_gm", "csf", "infarct_core", "penumbra", "low_grade"):
        assert TISSUE[name].ktrans.high == 0.0
    assert TISSUE["enhancing"].ktrans.low > 0.0


def test_classes_vary_inside_themselves_but_stay_what_they_are() -> None:
    assert all(0 < spread.value < 0.5 for spread in RELATIVE_SPREAD.values())


# --- The table ------------------------------------------------------------------------------------------


def test_every_row_says_unit_and_source_and_what_is_known_names_its_source() -> None:
    for name, row in TABLE.items():
        assert row.source in {"V", "D", "M"}, name
        assert row.source != "V" or len(row.note) > 5, f"{name} is said to be read somewhere: name the source"


def test_documentation_shows_the_table() -> None:
    """`python benchmarks/make_priors_page.py` prints the page anew."""
    assert (ROOT / "docs" / "priors.md").read_text("utf-8") == markdown()


def test_a_range_gives_no_number_and_a_number_no_range() -> None:
    assert Prior(2.0, 2.0, "s", "M").value == 2.0
    with pytest.raises(ConfigError, match=r"range, 1.0–2.0 s: draw from it"):
        _ = Prior(1.0, 2.0, "s", "M").value
    with pytest.raises(ConfigError, match="no usual value"):
        _ = Prior(1.0, 2.0, "s", "M").default
    with pytest.raises(ConfigError, match=r"usual value 3\.0 outside"):
        Prior(1.0, 2.0, "s", "M", usual=3.0)


def test_shares_of_a_choice_add_up_and_places_have_all_their_numbers() -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        Choice({"a": 0.5, "b": 0.4}, "", "M")
    with pytest.raises(ConfigError, match="x y z"):
        Places(((1.0, 2.0),), "x y z", "mm", "M")


# Numbers that say nothing of physics: signs, halves, counts of axes, corners and coefficients.
COUNTS = range(9)
PLAIN_FLOATS = {0.0, 0.5, 1.0, 2.0, 3.0}
LEAST_DIVISOR = 1e-3  # guards against division by zero lie below
# What else may stand in code, and why; everything else belongs into the table.
TOLERATED: dict[str, tuple[str, set[float]]] = {
    "anatomy": ("bits of a seed", {31}),
    "case": ("seconds a minute, bits of a seed", {60.0, 31}),
    "contrast": ("rows at a time, per cent", {8192, 100.0}),
    "drawing": ("how many places are tried", {3000}),
    "fields": (
        "spline: box it covers, its SD, its pieces, cache",
        {115, 125, 145, 1.2, 151, 315, 1.5, 6.0, 256},
    ),
    "geometry": ("matrices", {128, 240, 20, 155}),
    "motion": ("voxels at a time", {16384}),
    "protocol": ("half a turn", {180}),
    "protocol_drawing": (
        "attempts, seeds, ml a litre, the other field strength",
        {2000, 7919, 31, 1000.0, 1.5},
    ),
    "randomness": ("bits of a seed", {63}),
    "subject": ("least number of voxels", {30}),
    "template": ("packing into bytes, padding", {40, 50, 127, 128, 255, 4.0, 1.001}),
    "tubes": ("how finely tubes are cut, their farthest reach", {0.7, 2.399963, 6.0}),
    "vessels": ("how many vessels and points, seed of the bank, bytes", {20090, 420, 64, 44, 24, 255.0}),
}
# `regimes` is a table itself (printed in docs/simulator.md); `cohort` has the paper's counts and slices.
TABLES_OF_THEIR_OWN = {"regimes", "cohort"}


def numbers_in(source: str) -> list[tuple[int, float]]:
    """Line and value of every number in code that is neither a count nor a plain factor nor a guard."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
            continue
        value = node.value
        plain = value in COUNTS if isinstance(value, int) else value in PLAIN_FLOATS or value <= LEAST_DIVISOR
        if not plain:
            found.append((node.lineno, value))
    return found


@pytest.mark.parametrize(
    "path", sorted((ROOT / "perfmap" / "phantom").glob("*.py")), ids=lambda path: path.stem
)
def test_no_bare_physical_number_stands_in_code(path: Path) -> None:
    if path.stem in TABLES_OF_THEIR_OWN:
        return
    _, tolerated = TOLERATED.get(path.stem, ("", set()))
    bare = [(line, value) for line, value in numbers_in(path.read_text("utf-8")) if value not in tolerated]
    assert not bare, f"{path.name}: put these (line, number) into perfmap/phantom/priors: {bare}"


def test_the_search_for_bare_numbers_finds_them() -> None:
    assert numbers_in("depth = 0.5 * size - 18.0\nx = a[:, 2] > 230\neps = 1e-6") == [(1, 18.0), (2, 230)]
