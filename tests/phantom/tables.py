"""Small hand-made subjects, one voxel a tissue, for tests of the physics."""

from __future__ import annotations

from typing import Any

import numpy as np

from perfmap.phantom.priors import LABELS
from perfmap.phantom.subject import Rows, Subject

GM = {"tissue": "gm", "cbv": 4.0, "mtt": 4.0, "proton_density": 0.82}
WM = {"tissue": "wm", "cbv": 2.0, "mtt": 5.0, "proton_density": 0.70}
ARTERY = {
    "tissue": "vessel_artery",
    "cbv": 100.0,
    "mtt": 0.0,
    "t1": 1.63,
    "t2star": 0.05,
    "proton_density": 0.85,
}
TIMES = {  # field: (T1, T2*) of grey and of white matter, s
    3.0: ((1.82, 0.066), (1.08, 0.053)),
    1.5: ((1.12, 0.084), (0.88, 0.066)),
}


def at_field(tissue: dict[str, Any], field: float) -> dict[str, Any]:
    """Tissue with the relaxation times of a field."""
    t1, t2star = TIMES[field][tissue["tissue"] == "wm"]
    return tissue | {"t1": t1, "t2star": t2star}


def subject_of(*rows: dict[str, Any], n_voxels: int | None = None) -> Subject:
    """Subject in one line of voxels; a row without ``voxel`` gets one of its own."""
    voxels = [row.get("voxel", n) for n, row in enumerate(rows)]
    size = n_voxels or max(voxels) + 1

    def column(name: str, default: float) -> np.ndarray:
        return np.array([row.get(name, default) for row in rows], dtype=np.float32)

    table = Rows(
        voxel=np.array(voxels, dtype=np.int32),
        fraction=column("fraction", 1.0),
        tissue=np.array([LABELS[row["tissue"]] for row in rows], dtype=np.int8),
        cbv=column("cbv", 4.0),
        mtt=column("mtt", 4.0),
        delay=column("delay", 0.0),
        residue_lambda=column("residue_lambda", 3.0),
        t1=column("t1", 1.82),
        t2star=column("t2star", 0.066),
        t2=column("t2", 0.085),
        proton_density=column("proton_density", 0.82),
        ktrans=column("ktrans", 0.0),
        ve=column("ve", 0.3),
        r2v_factor=column("r2v_factor", 1.0),
    )
    shape = (size, 1, 1)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[table.voxel, 0, 0] = table.tissue
    brain = labels > 0
    return Subject(shape, np.diag([1.8, 1.8, 5.0, 1.0]), table, labels, brain, labels == LABELS["wm"])
