"""The template's own shape, for tests that need to know where things lie."""

from __future__ import annotations

from perfmap.phantom.anatomy import ShapeParameters

PLAIN = ShapeParameters(
    scale=(1, 1, 1),
    shear=(0, 0, 0),
    rotation=(0, 0, 0),
    translation=(0, 0, 0),
    coarse_warp=0,
    fine_warp=0,
    coarse_seed=1,
    fine_seed=2,
    ventricle_growth=0,
    csf_threshold=0.78,
    wm_threshold=0.5,
    sharpness=2.0,
    hull_margin=1.0,
    thickness_seed=3,
)
