"""``perfmap reproduce``: a manifest in, the same map or a difference out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perfmap.cli.common import LogFile, Quiet, Verbose, start_logging
from perfmap.errors import PerfmapError


def reproduce(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Written by predict.")],
    input_path: Annotated[
        Path | None,
        typer.Option("--input", metavar="PATH", help="The series, if it has moved, or was DICOM."),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its brain mask, if it has moved.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="The model, if it is not a shipped one.")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="Processor cores to use.")] = 1,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Make a map again from its manifest and compare the hashes. Ends with 1, as an internal error does, where the map
    differs.

    Example: perfmap reproduce manifest.json
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)

    from perfmap.engine.reproduce import ACROSS_PROCESSORS
    from perfmap.engine.reproduce import reproduce as make_again

    made = make_again(manifest, input_path=input_path, mask_path=mask, model=model, threads=threads)
    if not made.same:
        apart = made.difference
        how_far = (
            "the first map is not beside the manifest"
            if apart is None
            else f"they differ by {apart:.2g} of the 99th percentile; up to {ACROSS_PROCESSORS:g} another type of "
            "processor may explain"
        )
        raise PerfmapError(
            f"the map is another: sha256 {made.found[:12]}…, wanted {made.wanted[:12]}…; {how_far}"
        )
    if not quiet:
        typer.echo(f"the same map, sha256 {made.found}")
