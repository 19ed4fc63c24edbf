"""``perfmap predict`` over many cases: options to a job, one call, one table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from perfmap.cli.batch_progress import batch_progress, print_summary
from perfmap.cli.common import check_json, emit_json
from perfmap.errors import ConfigError

if TYPE_CHECKING:
    from perfmap.engine.batch_case import Extra, Job
    from perfmap.engine.predict_file import Done


def predict_many(
    source: Path,
    job: Job,
    *,
    mask: Path | None,
    prefer: Literal["original", "moco"],
    keep_phi: bool,
    shard: str | None,
    workers: int | None,
    scheduler: str | None,
    threads: int | None,
    partial_ok: bool,
    json: str | None,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Run a batch and print its summary.

    Returns
    -------
    int
        Exit code.
    """
    from perfmap.engine.batch import run_batch
    from perfmap.engine.cases import ExportOptions, discover
    from perfmap.engine.summary import as_dict, summary_path
    from perfmap.io.sidecar import has_image_name

    if has_image_name(job.output):
        raise ConfigError(
            f"{source} may hold many cases, --output {job.output} names one file; give a folder"
        )
    check_json(json, overwrite=overwrite)
    part = parse_shard(shard)
    options = ExportOptions(prefer, keep_phi, job.quiet_seconds, job.protocol.time_step)
    cases = discover(source, output=job.output, masks=mask, options=options)
    lanes = threads or os.cpu_count() or 1
    pool = None
    if workers or scheduler:
        from perfmap.engine.cluster import dask_pool

        pool = partial(dask_pool, scheduler=scheduler, workers=workers)
    with batch_progress(quiet=quiet) as on_change:
        summary = run_batch(cases, job, lanes=lanes, shard=part, pool=pool, on_change=on_change)
    emit_json(as_dict(summary), json, overwrite=overwrite)
    if json != "-" and not quiet:
        print_summary(summary, str(summary_path(job.output, part)))
    return summary.exit_code(partial_ok=partial_ok)


def parse_shard(text: str | None) -> tuple[int, int]:
    """``3/40`` as two numbers; the whole where nothing is given.

    Raises
    ------
    ConfigError
        If it is no such pair.
    """
    if text is None:
        return 1, 1
    index, slash, n = text.partition("/")
    if slash and index.isdecimal() and n.isdecimal() and 1 <= int(index) <= int(n):
        return int(index), int(n)
    raise ConfigError(f"--shard {text} was not understood, wanted I/N with I from 1 to N, for example 3/40")


def extras_for(
    *, figures: Path | None, reports: Path | None, dicom: Path | None, forms: Sequence[str]
) -> dict[str, Extra]:
    """What a batch makes of each finished case beside the map; the paths name folders here."""
    extras: dict[str, Extra] = {}
    for name, folder, write in (("figure", figures, _write_figure), ("report", reports, _write_report)):
        if folder is not None:
            if folder.suffix or (folder.exists() and not folder.is_dir()):
                raise ConfigError(
                    f"--{name} {folder} names a file, wanted a folder as there may be many cases"
                )
            extras[name] = partial(write, folder)
    if dicom is not None:
        extras["dicom " + ",".join(forms)] = partial(_write_dicom, dicom, tuple(forms))
    return extras


def _write_figure(folder: Path, done: Done) -> None:
    from perfmap.io.sidecar import image_stem
    from perfmap.report.prediction import write_prediction_figure

    write_prediction_figure(done, folder / f"{image_stem(done.map_path)}.png", overwrite=True)


def _write_report(folder: Path, done: Done) -> None:
    from perfmap.io.sidecar import image_stem
    from perfmap.report.prediction import write_prediction_report

    write_prediction_report(done, folder / f"{image_stem(done.map_path)}.html", overwrite=True)


def _write_dicom(folder: Path, forms: tuple[str, ...], done: Done) -> None:
    from perfmap.io.sidecar import image_stem
    from perfmap.report.dicom import write_prediction_dicom

    done.manifest["dicom"] = write_prediction_dicom(
        done, folder / image_stem(done.map_path), forms, overwrite=True
    )
