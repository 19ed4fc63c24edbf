"""Series of DICOM objects on disk: a folder each, whole or not at all, and a list of what was written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset

from perfmap.errors import ConfigError, InputError
from perfmap.io.dicom_out_pm import can_write_pm
from perfmap.io.files import atomic_folder
from perfmap.io.sidecar import has_image_name

FORMS = ("mr", "sc", "pm")


def chosen_forms(text: str | None) -> tuple[str, ...]:
    """Forms named in a list like ``mr,sc``; without one ``mr`` and ``sc``, and ``pm`` where highdicom is installed.

    Raises
    ------
    ConfigError
        If a form is unknown, or ``pm`` is asked for without highdicom.
    """
    if text is None:
        return FORMS if can_write_pm() else FORMS[:2]
    forms = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not forms or not set(forms) <= set(FORMS):
        raise ConfigError(f"--dicom-form {text!r} is unknown, wanted some of {','.join(FORMS)}")
    if "pm" in forms and not can_write_pm():
        raise ConfigError("--dicom-form pm needs highdicom; pip install 'perfmap[dicom]', or leave pm out")
    return forms


def check_dicom_folder(folder: Path, input_path: Path, *, overwrite: bool) -> None:
    """Refuse a folder for DICOM objects, or an input that is no DICOM, before any work is done.

    Raises
    ------
    ConfigError
        If the folder holds one of the forms already and `overwrite` is False.
    InputError
        If it is a file, lies in the input folder, or the input is NIfTI.
    """
    if has_image_name(input_path):
        raise no_dicom_origin()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--dicom {folder} is a file, wanted a folder; name another")
    if input_path.is_dir() and folder.resolve().is_relative_to(input_path.resolve()):
        raise InputError(
            f"--dicom {folder} lies inside of the input folder; maps would be read as input next time"
        )
    for form in FORMS:
        if (folder / form).exists() and not overwrite:
            raise ConfigError(f"output {folder / form} exists; give --overwrite to replace it")


def no_dicom_origin() -> InputError:
    """The refusal of a series that did not come from DICOM."""
    return InputError(
        "--dicom needs a series read from DICOM, for its patient, study and geometry, and the input is NIfTI; "
        "give the DICOM folder"
    )


def write_objects(objects: Iterable[Dataset], folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the objects of one series as ``0001.dcm`` and so on; the folder appears when all of them are on disk.

    Parameters
    ----------
    objects : iterable of Dataset
        With file meta information.
    folder : Path
    overwrite : bool
        Whether an existing folder is replaced, with everything in it.

    Returns
    -------
    list of Path

    Raises
    ------
    ConfigError
        If the folder exists and `overwrite` is False.
    InputError
        If it cannot be written.
    """
    names = []
    with atomic_folder(folder, overwrite=overwrite) as partial:
        for number, image in enumerate(objects, start=1):
            names.append(f"{number:04d}.dcm")
            image.save_as(partial / names[-1], enforce_file_format=True)
    return [folder / name for name in names]
