"""Where a batch puts its files: a BIDS derivative with one folder a case.

BIDS has no suffix for a relative CBV map (``cbv`` is a raw functional contrast there), so ``_nrcbv`` is an extension,
named in ``.bidsignore``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import perfmap
from perfmap.engine.cases import Case
from perfmap.errors import ConfigError, InputError
from perfmap.io.files import atomic_output
from perfmap.io.sidecar import read_json, write_json
from perfmap.quantities import RESEARCH_ONLY

DESCRIPTION = "dataset_description.json"
_IGNORED = ("*_nrcbv*", "*_validity.nii.gz", "*_manifest.json", "summary*", "shards/", ".perfmap*")


@dataclass(frozen=True)
class CasePaths:
    """Files of one case; the manifest is written last and vouches for the others."""

    map_path: Path
    manifest: Path


def case_paths(output: Path, case: Case, *, model: str, quantity: str) -> CasePaths:
    """Files of a case, e.g. ``OUT/sub-7/ses-1/perf/sub-7_ses-1_desc-unetgru_nrcbv.nii.gz``."""
    entities = dict(case.entities)
    folder = output / f"sub-{case.label}"
    if "ses" in entities:
        folder /= f"ses-{entities['ses']}"
    description = "desc-" + re.sub(r"[^0-9A-Za-z]", "", model)
    name = "_".join([f"sub-{case.label}", *(f"{key}-{value}" for key, value in case.entities), description])
    return CasePaths(folder / "perf" / f"{name}_{quantity}.nii.gz", folder / "perf" / f"{name}_manifest.json")


def begin_dataset(output: Path) -> None:
    """Make the folder a BIDS derivative of perfmap; one that is so already stays as it is.

    Raises
    ------
    ConfigError
        If the folder is a data set that perfmap did not make.
    InputError
        If it cannot be written.
    """
    path = output / DESCRIPTION
    if path.is_file():
        made_by = read_json(path).get("GeneratedBy")
        names = [entry.get("Name") for entry in made_by or [] if isinstance(entry, dict)]
        if "perfmap" not in names:
            raise ConfigError(
                f"{output} is a data set that perfmap did not make; choose a folder of its own, "
                f"for example {output / 'derivatives' / 'perfmap'}"
            )
    elif output.exists() and not output.is_dir():
        raise InputError(f"output {output} is a file, wanted a folder for the maps; choose another name")
    else:
        write_json(
            {
                "Name": "perfmap: CBV maps by neural networks",
                "BIDSVersion": "1.10.0",
                "DatasetType": "derivative",
                "GeneratedBy": [
                    {"Name": "perfmap", "Version": perfmap.__version__, "Description": RESEARCH_ONLY}
                ],
                "HowToAcknowledge": "doi 10.15587/1729-4061.2026.360606",
            },
            path,
        )
    ignored = output / ".bidsignore"
    if not ignored.exists():
        with atomic_output(ignored) as stream:
            stream.write(("\n".join(_IGNORED) + "\n").encode())
