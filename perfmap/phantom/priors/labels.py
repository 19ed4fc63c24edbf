"""Names and numbers of the tissue classes."""

from __future__ import annotations

LABELS: dict[str, int] = {
    "background": 0,
    "csf": 1,
    "gm": 2,
    "wm": 3,
    "deep_gm": 4,
    "vessel_artery": 5,
    "vessel_vein": 6,
    "enhancing": 7,
    "necrosis": 8,
    "oedema": 9,
    "low_grade": 10,
    "meningioma": 11,
    "infarct_core": 12,
    "penumbra": 13,
    "skull": 14,
    "scalp": 15,
    "muscle": 16,
    "eye": 17,
}
"""Identifier of every tissue class, in rows and in label volumes."""

HEAD_CLASSES = ("skull", "scalp", "muscle", "eye")
LESION_CLASSES = ("enhancing", "necrosis", "oedema", "low_grade", "meningioma", "infarct_core", "penumbra")
VESSEL_CLASSES = ("vessel_artery", "vessel_vein")

FIELD_STRENGTHS = (1.5, 3.0)
"""Where relaxation times are known, T."""
