"""``perfmap models``: what is shipped, and its cards."""

from __future__ import annotations

from typing import Annotated

import typer

from perfmap.cli.common import JsonTarget, Overwrite, emit_json, wide_console


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|PATH]", help="Show the whole card of this model.")
    ] = None,
    architectures: Annotated[
        bool,
        typer.Option(
            "--architectures", help="List the networks that 'perfmap train --arch' knows, and their size."
        ),
    ] = False,
    json: JsonTarget = None,
    overwrite: Overwrite = False,
) -> None:
    """List the models that come with perfmap, or show a model's card.

    Example: perfmap models unet-gru
    """
    from rich.table import Table

    from perfmap.errors import ConfigError
    from perfmap.io.sidecar import json_text
    from perfmap.models import DEFAULT_MODEL
    from perfmap.models.checkpoint import find_checkpoint, read_card, shipped_models

    console = wide_console()
    if architectures and name is not None:
        raise ConfigError("--architectures lists networks, a name shows one card; give one of them")
    if architectures:
        _list_architectures(json, overwrite=overwrite)
        return
    if name is not None:
        content = read_card(find_checkpoint(name)).model_dump()
        if json is not None:
            emit_json(content, json, overwrite=overwrite)
        else:
            typer.echo(json_text(content), nl=False)
        return
    cards = {key: read_card(folder) for key, folder in shipped_models().items()}
    if json is not None:
        emit_json({key: card.model_dump() for key, card in cards.items()}, json, overwrite=overwrite)
        return
    table = Table("model", "network", "map", "parameters", "multiply-adds / slice", "trained on", "sha256")
    for key, card in cards.items():
        table.add_row(
            f"{key} (default)" if key == DEFAULT_MODEL else key,
            card.architecture,
            card.outputs.quantity,
            f"{card.parameters / 1e6:.2f} M",
            f"{card.multiply_adds / 1e9:.2f} G",
            card.training.data,
            card.sha256[:12],
        )
    console.print(table)
    typer.echo("Research use only. Not for diagnosis. Trained on simulated data; not clinically validated.")


def _list_architectures(json: str | None, *, overwrite: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from perfmap.engine.sizes import size_of
    from perfmap.models import ARCHITECTURES

    with Console(stderr=True).status("counting"):
        sizes = {architecture: size_of(architecture) for architecture in sorted(ARCHITECTURES)}
    if json is not None:
        content = {architecture: asdict(size) for architecture, size in sizes.items()}
        emit_json({"architectures": content}, json, overwrite=overwrite)
        return
    table = Table("architecture", "parameters", "multiply-adds / slice", "slice × times")
    for architecture, size in sizes.items():
        table.add_row(
            architecture,
            f"{size.parameters / 1e6:.2f} M",
            f"{size.multiply_adds / 1e9:.2f} G",
            f"{size.matrix}² × {size.n_times}",
        )
    wide_console().print(table)
