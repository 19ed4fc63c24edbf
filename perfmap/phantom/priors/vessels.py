"""Priors of the vessels: courses of the named ones, and how the cortical ones are walked."""

from __future__ import annotations

import math

from perfmap.phantom.priors.row import Places, Prior, Row, fixed, share, spread, uniform


def _course(*points: tuple[float, float, float, float], mirrored: bool = True, note: str = "") -> Places:
    """Way-points of a vessel with its radius there; the other side is its mirror image."""
    return Places(points, "x y z radius", "mm MNI", "M", mirrored=mirrored, note=note)


ARTERIES: dict[str, Places] = {
    "vertebral": _course((9, -40, -70, 1.5), (6, -38, -58, 1.5), (0.5, -32, -50, 1.6)),
    "basilar": _course((0, -32, -50, 1.7), (1, -29, -40, 1.7), (0, -24, -30, 1.7), (0, -17, -20, 1.6),
        mirrored=False),
    "posterior_cerebral": _course((0, -17, -20, 1.2), (8, -16, -18, 1.2), (17, -21, -15, 1.2),
        (22, -31, -10, 1.1), (20, -44, -4, 1), (15, -58, 2, 0.9), (11, -72, 6, 0.8), (9, -86, 6, 0.6)),
    "internal_carotid": _course((22, 2, -55, 2.3), (20, 0, -44, 2.3), (15, -4, -36, 2.3),
        (14, 6, -30, 2.2), (14, 8, -24, 2.2), (13, 2, -19, 2.1), (14, 3, -15, 1.9), note="with its siphon"),
    "posterior_communicating": _course((13, 2, -18, 0.7), (11, -7, -18, 0.7), (9, -15, -18, 0.7)),
    "anterior_cerebral": _course((14, 3, -15, 1.4), (8, 6, -15, 1.3), (3, 9, -14, 1.2), (2, 18, -12, 1.2),
        (2, 30, -8, 1.2), (2, 38, 2, 1.1), (2, 37, 14, 1.1), (2, 27, 25, 1), (2, 10, 32, 0.9),
        (2, -10, 35, 0.8), (3, -30, 38, 0.6), note="round the corpus callosum"),
    "callosomarginal": _course((2, 37, 14, 0.9), (3, 40, 28, 0.8), (3, 32, 42, 0.7), (3, 14, 52, 0.7),
        (4, 0, 60, 0.5)),
    "anterior_communicating": _course((3, 9, -14, 0.8), (-3, 9, -14, 0.8), mirrored=False),
    "middle_cerebral": _course((14, 3, -15, 1.7), (22, 5, -16, 1.6), (31, 6, -17, 1.6), (38, 3, -14, 1.5),
        note="M1"),
    "middle_cerebral_anterior_trunk": _course((38, 3, -14, 1.2), (41, 8, -5, 1.1), (40, 14, 6, 1),
        (43, 12, 14, 0.9), (52, 12, 14, 0.8), (57, 12, 22, 0.7), (54, 14, 34, 0.5)),
    "middle_cerebral_posterior_trunk": _course((38, 3, -14, 1.3), (41, -4, -6, 1.2), (39, -14, 4, 1.1),
        (38, -26, 12, 1), (46, -30, 17, 0.9), (57, -32, 20, 0.8), (60, -40, 30, 0.7), (54, -52, 42, 0.5)),
    "middle_cerebral_temporal_branch": _course((41, -4, -6, 1), (44, -14, -3, 0.9), (54, -20, 2, 0.8),
        (63, -30, 2, 0.7), (62, -46, 0, 0.5)),
    "middle_cerebral_opercular_branch": _course((40, 2, 2, 0.9), (39, -6, 14, 0.8), (48, -8, 16, 0.8),
        (60, -10, 22, 0.7), (58, -14, 38, 0.5)),
    "superior_cerebellar": _course((1, -20, -25, 0.7), (12, -27, -24, 0.7), (22, -38, -22, 0.6),
        (24, -52, -18, 0.5)),
}  # fmt: skip

VEINS: dict[str, Places] = {
    "internal_cerebral": _course((5, 2, 14, 0.8), (3, -8, 14, 0.9), (3, -22, 14, 1), (2, -34, 10, 1.2),
        (0, -40, 8, 1.5)),
    "basal": _course((20, 2, -16, 0.7), (17, -14, -12, 0.9), (16, -28, -4, 1), (8, -38, 3, 1.2),
        (0, -42, 7, 1.4)),
    "straight_sinus": _course((0, -40, 8, 1.8), (0, -48, 10, 2), (0, -58, 4, 2), (0, -74, -6, 2.1),
        (0, -92, -16, 2.3), mirrored=False),
    "transverse_and_sigmoid_sinus": _course((0, -98, -17, 2.6), (22, -96, -19, 2.8), (44, -84, -24, 2.9),
        (58, -64, -28, 3), (56, -48, -36, 3.2), (46, -40, -46, 3.2), (34, -34, -58, 3.2)),
    "superficial_sylvian": _course((60, 0, 10, 0.6), (55, 8, -4, 0.9), (44, 14, -16, 1),
        (30, 10, -22, 1.1)),
    "thalamostriate": _course((16, 26, 10, 0.3), (15, 10, 18, 0.4), (9, -2, 16, 0.5), (5, 2, 14, 0.6)),
    "choroid_plexus": _course((15, -18, 19, 0.5), (20, -30, 16, 0.9), (23, -38, 8, 1), (26, -34, -2, 0.6)),
}  # fmt: skip

VESSEL: dict[str, Prior] = {
    "radius_scale": uniform(0.75, 1.3, note="thickness of a subject's vessels"),
    "artery_share": uniform(0.4, 1.0, note="of the cortical arteries that a subject has"),
    "vein_share": uniform(0.4, 1.0),
    "course_jitter": spread(0.9, "mm", note="of the way-points of a named vessel"),
    "radius_jitter": spread(0.12, "SD of ln radius", note="of a named vessel"),
    "walk_step": fixed(1.6, "mm", "D", note="between points of a walked vessel"),
    "walk_turn": spread(0.4, "mm", "D", note="of a step in each direction"),
    "walk_into_csf": fixed(6.0, "mm²", "D", note="pull down the slope of the tissue"),
    "walk_to_depth": fixed(0.6, "", "D", note="share of the way to the wanted depth in one step"),
    "walk_pull": fixed(1.2, "mm", "D", note="largest pull of a step"),
    "walk_smoothing": fixed(0.7, "voxels of 2 mm", "D", note="of the tissue map that is walked in"),
    "inside_hull": fixed(-0.5, "mm", "D", note="depth that a sulcal vessel keeps at least"),
    "sulcus_tissue": fixed(0.8, "probability", "D", note="below it lies a sulcus"),
    "sulcus_depth": uniform(-18.0, -2.0, "mm", "D", note="where sulcal vessels begin"),
    "sulcus_z": fixed(-40.0, "mm MNI", "D", note="lowest"),
    "sulcal_arteries": share(0.4, "the sulcal vessels", "D"),
    "bridging_angle": uniform(45.0, 165.0, "degree", "D", note="round the midline, from the forehead"),
    "bridging_side": fixed(0.12, "", "D", note="beside the midline, of the radius"),
    "bridging_back": spread(0.4, "", "D", mean=0.15, note="heading along y"),
    "bridging_down": fixed(-0.25, "", "D", note="heading along z"),
    "bridging_depth": fixed(-1.0, "mm", "D", note="to the hull"),
    "sylvian_side": fixed(48.0, "mm MNI", note="where Sylvian branches begin"),
    "sylvian_y": uniform(-32.0, 14.0, "mm MNI"),
    "sylvian_z": uniform(0.0, 16.0, "mm MNI"),
    "sylvian_angle": uniform(-0.6, math.pi + 0.6, "rad", "D", note="heading, from the front over the vertex"),
    "sylvian_out": fixed(0.4, "", "D", note="heading along x"),
    "sylvian_depth": fixed(-3.0, "mm", "D", note="to the hull"),
    "hull_search": uniform(
        20.0, 120.0, "mm", "D", note="distance from the middle at which the hull is looked for"
    ),
    "hull_search_step": fixed(0.5, "mm", "D"),
}

STEPS: dict[str, Prior] = {
    "sulcal": uniform(8, 22, "steps", "D"),
    "bridging": uniform(14, 34, "steps", "D"),
    "sylvian": uniform(14, 34, "steps", "D"),
}
"""Length of walked vessels."""


def _taper(start: float, end: float) -> Places:
    return Places(((start, end),), "start end", "mm", "M", note="radius")


TAPER: dict[str, Places] = {
    "sulcal_artery": _taper(0.55, 0.3),
    "sulcal_vein": _taper(0.4, 0.75),
    "bridging_vein": _taper(1.15, 0.5),
    "sylvian_artery": _taper(0.8, 0.35),
    "sagittal_sinus": _taper(1.3, 3.4),
}

SAGITTAL_ANGLES = Places(
    ((25.0, 195.0),), "start end", "degree", "M", note="round the midline from the forehead over the vertex"
)
MIDLINE_CENTRE = Places(((0.0, -22.0, 8.0),), "x y z", "mm MNI", "D")


def vessel_rows() -> dict[str, Row]:
    """Rows of this file by name."""
    rows: dict[str, Row] = {f"vessel.{name}": prior for name, prior in VESSEL.items()}
    rows |= {f"vessel.steps.{name}": prior for name, prior in STEPS.items()}
    rows |= {f"vessel.taper.{name}": places for name, places in TAPER.items()}
    rows |= {"vessel.sagittal_angles": SAGITTAL_ANGLES, "vessel.midline_centre": MIDLINE_CENTRE}
    rows |= {f"vessel.artery.{name}": places for name, places in ARTERIES.items()}
    rows |= {f"vessel.vein.{name}": places for name, places in VEINS.items()}
    return rows
