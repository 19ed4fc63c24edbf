"""Records of DICOM headers without files: what ordering and timing are tested on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from perfmap.io.dicom_files import ExportFile
from perfmap.io.dicom_frames import Frame

START = 36_000.0


def frame(t: int, k: int, *, n_slices: int = 3, time_step: float = 1.5, **different: object) -> Frame:
    """A slice as Siemens writes it: every clock and number tells its time."""
    usual = Frame(
        file=ExportFile(Path(f"{t}-{k}"), None, 1, 0.0),
        frame=None,
        sop_uid=f"1.{t}.{k}",
        series_uid="1",
        position=(0.0, 0.0, 5.0 * k),
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        spacing=(2.0, 2.0),
        rows=64,
        columns=64,
        slice_step=5.0,
        echo_time=0.03,
        component="magnitude",
        slope=1.0,
        intercept=0.0,
        scale_slope=None,
        acquisition_time=START + t * time_step + 0.1 * k,
        content_time=START + 3 + t * time_step,
        trigger_time=None,
        temporal_position=t + 1,
        acquisition_number=t + 1,
        instance_number=t * n_slices + k + 1,
        n_tiles=0,
    )
    return replace(usual, **different)  # type: ignore[arg-type]


def series(n_times: int = 24, n_slices: int = 3, **different: object) -> list[Frame]:
    """All slices of a series, volume by volume."""
    return [frame(t, k, n_slices=n_slices, **different) for t in range(n_times) for k in range(n_slices)]


def silent(frames: list[Frame], *names: str) -> list[Frame]:
    """The same with some attributes taken out, as de-identification does."""
    return [replace(one, **dict.fromkeys(names)) for one in frames]  # type: ignore[arg-type]
