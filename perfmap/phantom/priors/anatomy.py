"""Priors of the anatomy: how brains differ in shape, where nuclei and ventricles lie, what slices average over."""

from __future__ import annotations

from perfmap.phantom.priors.row import Places, Prior, Row, fixed, normal, uniform

ANATOMY: dict[str, Prior] = {
    "scale": uniform(0.90, 1.10, "", "D"),
    "shear": normal(0.0, 0.02, -0.05, 0.05),
    "rotation": uniform(-10.0, 10.0, "degree", "D"),
    "translation": uniform(-5.0, 5.0, "mm"),
    "coarse_warp": uniform(1.0, 3.0, "mm"),
    "coarse_spacing": fixed(60.0, "mm", "D", note="between control points of the slow warp: lobes"),
    "fine_warp": uniform(0.5, 1.1, "mm"),
    "fine_spacing": fixed(13.0, "mm", "D", note="of the fast warp: gyri"),
    "ventricle_growth": normal(0.5, 1.6, -1.5, 4.5, "mm"),
    "csf_threshold": normal(0.78, 0.06, 0.62, 0.90, note="template probability at which tissue ends"),
    "wm_threshold": normal(0.50, 0.07, 0.35, 0.65, note="share of white in tissue at which it ends"),
    "nucleus_threshold": fixed(0.2, "", "D", note="added to it in deep nuclei"),
    "threshold_spread": fixed(0.03, "SD", "D", note="of both thresholds from place to place"),
    "thickness_spacing": fixed(22.0, "mm", "D", note="between control points of the cortex's thickness"),
    "sharpness": uniform(1.5, 3.0, note="slope of the cut through the template's probabilities"),
    "hull_margin": uniform(0.5, 2.0, "mm"),
    "skull_thickness": normal(6.0, 1.2, 3.5, 9.0, "mm"),
    "scalp_thickness": normal(5.0, 1.2, 2.5, 9.0, "mm"),
}
"""How subjects differ in shape."""

TEMPLATE: dict[str, Prior] = {
    "scalp_closing": fixed(
        16.0, "mm", "D", note="notches of the brain narrower than twice this do not show on the scalp"
    ),
    "ventricle_reach": fixed(32.0, "mm", "D", note="beyond the box, where nothing of their growth is left"),
    "ventricle_depth": fixed(18.0, "mm", "D", note="below the hull, so that no cistern counts"),
    "ventricle_tissue": fixed(0.5, "probability", "D", note="below it lies CSF"),
    "ventricle_fade": fixed(8.0, "mm", "D", note="over which their growth fades outward"),
    "ventricle_core": fixed(6.0, "mm", "D", note="depth in the ventricle at which nothing moves"),
    "nucleus_outer": fixed(1.15, "radii", "D", note="where a nucleus has ended"),
    "nucleus_edge": fixed(0.2, "radii", "D", note="width of its edge"),
    "solid_tissue": fixed(230.0, "of 255", "D", note="from which a place is no CSF"),
}
"""How the template's maps are read."""

VENTRICLE_BOX = Places(
    ((-34.0, 34.0), (-60.0, 48.0), (-16.0, 34.0)),
    "low high",
    "mm MNI",
    "M",
    note="x, y, z: where a hole in the tissue is a ventricle and no sulcus",
)


def _nucleus(x: float, y: float, z: float, *radii: float) -> Places:
    return Places(
        ((x, y, z), radii), "x y z", "mm MNI", "M", mirrored=True, note="centre, radii of an ellipsoid"
    )


NUCLEI: dict[str, Places] = {
    "caudate_head": _nucleus(12.0, 13.0, 7.0, 7.0, 13.0, 10.0),
    "caudate_body": _nucleus(16.0, -6.0, 21.0, 5.0, 16.0, 6.0),
    "putamen": _nucleus(26.0, 3.0, 1.0, 8.0, 17.0, 12.0),
    "pallidum": _nucleus(19.0, -4.0, 0.0, 7.0, 10.0, 8.0),
    "thalamus": _nucleus(12.0, -18.0, 8.0, 12.0, 17.0, 11.0),
    "accumbens": _nucleus(10.0, 12.0, -8.0, 6.0, 6.0, 5.0),
}
"""Deep grey nuclei of the right; the left are their mirror images."""

VOXEL: dict[str, Prior] = {
    "sub_slice": fixed(2.0, "mm", "D", note="a slice is averaged over planes no further apart"),
    "least_share": fixed(0.02, "", "D", note="compartments with less are left to the others"),
    "vessel_label": fixed(0.08, "", "D", note="a voxel is called a vessel from this blood fraction upward"),
    "brain_share": fixed(0.5, "", "D", note="of brain, from which a voxel belongs to the mask"),
    "head_share": fixed(0.05, "", "D", note="of skull, scalp, muscle or eye, from which it does not"),
    "nawm_purity": fixed(0.9, "", "D", note="share of white matter in normal-appearing white matter"),
    "nawm_lower_purity": fixed(0.75, "", "D", note="where that leaves too few voxels"),
}
"""What a voxel counts as."""

GEOMETRY: dict[str, Prior] = {
    "native_in_plane": fixed(1.8, "mm", "M", note="128 × 128 × 20"),
    "native_spacing": fixed(6.5, "mm", "M"),
    "native_thickness": fixed(5.0, "mm", "M"),
    "upenn_voxel": fixed(1.0, "mm", "V", note="240 × 240 × 155, UPENN-GBM, doi 10.7937/TCIA.709X-DN49"),
    "upenn_z": fixed(5.0, "mm MNI", "D", note="middle of the stack"),
    "in_plane": uniform(
        1.6,
        2.2,
        "mm",
        "M",
        note="stacks of 128 × 128: narrower than 1.5–2.5 so that brains fit and fill the matrix",
    ),
    "thickness": uniform(3.0, 6.0, "mm"),
    "gapped": fixed(0.5, "share of the stacks", "M"),
    "gap": uniform(0.0, 0.3, "of the thickness"),
    "spread_out": fixed(0.5, "share of the stacks", "D", note="that span the cerebrum, however few slices"),
    "spread_out_span": fixed(100.0, "mm", "D"),
    "height": uniform(-32.0, 62.0, "mm MNI", "D", note="from the lowest slice to the highest"),
    "shift": uniform(-6.0, 6.0, "mm", note="of the head in the field of view, along x and y"),
}
"""Where slices lie."""

BRAIN_CENTRE = Places(((0.0, -18.0, 10.0),), "x y z", "mm MNI", "D", note="middle of the stacks")

HEAD: dict[str, Prior] = {
    "field_spacing": fixed(22.0, "mm", "D", note="between control points of the shells' thickness"),
    "unevenness": fixed(0.2, "SD", "D", note="of a shell's thickness over its mean"),
    "thickness_limits": uniform(0.4, 1.8, "", "D", note="thickness over its mean"),
    "eye_radius": fixed(12.0, "mm"),
    "orbit_radius": fixed(17.0, "mm"),
    "temporal_muscle": fixed(8.0, "mm", note="thickest part"),
    "temporal_side": fixed(48.0, "mm MNI", note="where it begins, from the midline"),
    "temporal_side_ramp": fixed(10.0, "mm", "D"),
    "temporal_top": fixed(26.0, "mm MNI", note="where it ends"),
    "temporal_y": fixed(8.0, "mm MNI", note="its middle"),
    "temporal_half_length": fixed(60.0, "mm"),
    "temporal_ramp": fixed(20.0, "mm", "D"),
    "neck_top": fixed(-40.0, "mm MNI"),
    "fat_level": fixed(0.8, "SD", "D", note="of the mixture field, at which deep muscle turns to fat"),
    "fat_slope": fixed(2.0, "1/SD", "D"),
    "air_unevenness": fixed(0.1, "radii", "D", note="SD of the sinuses' walls"),
}
"""Shells around the brain; places are read off atlases as remembered."""

EYES = Places(((33.0, 60.0, -36.0),), "x y z", "mm MNI", "M", mirrored=True)
FACE = Places(
    ((0.0, 38.0, -52.0), (64.0, 56.0, 58.0)), "x y z", "mm MNI", "M", note="centre, radii of an ellipsoid"
)
NECK = Places(((0.0, -28.0), (62.0, 66.0)), "x y", "mm MNI", "M", note="centre, radii in the axial plane")


def _air(x: float, y: float, z: float, *radii: float) -> Places:
    return Places(
        ((x, y, z), radii), "x y z", "mm MNI", "M", mirrored=True, note="centre, radii of an ellipsoid"
    )


AIR: dict[str, Places] = {
    "nasal_cavity": _air(0.0, 52.0, -46.0, 13.0, 26.0, 16.0),
    "maxillary_sinus": _air(26.0, 50.0, -62.0, 13.0, 16.0, 14.0),
    "sphenoid_sinus": _air(0.0, 22.0, -38.0, 10.0, 10.0, 7.0),
    "frontal_sinus": _air(0.0, 76.0, -2.0, 17.0, 3.5, 9.0),
    "mastoid_cells": _air(54.0, -34.0, -44.0, 8.0, 10.0, 9.0),
}


def anatomy_rows() -> dict[str, Row]:
    """Rows of this file by name."""
    rows: dict[str, Row] = {}
    tables = {"anatomy": ANATOMY, "template": TEMPLATE, "voxel": VOXEL, "geometry": GEOMETRY, "head": HEAD}
    for group, table in tables.items():
        rows |= {f"{group}.{name}": prior for name, prior in table.items()}
    rows |= {"template.ventricle_box": VENTRICLE_BOX, "geometry.brain_centre": BRAIN_CENTRE}
    rows |= {f"template.nucleus.{name}": places for name, places in NUCLEI.items()}
    rows |= {"head.eyes": EYES, "head.face": FACE, "head.neck": NECK}
    rows |= {f"head.air.{name}": places for name, places in AIR.items()}
    return rows
