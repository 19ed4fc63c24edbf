"""Simulate cases to disk: series, sidecar, truth maps and the record that replays them."""

from __future__ import annotations

import json
import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perfmap import __version__
from perfmap.errors import ConfigError, InputError
from perfmap.io.files import check_output
from perfmap.io.nifti import write_series, write_volume
from perfmap.io.sidecar import json_text, read_json, write_json
from perfmap.phantom.case import (
    CaseParameters,
    SimulatedCase,
    change_case,
    draw_case,
    series_of,
    simulate_case,
)
from perfmap.phantom.regimes import REGIMES, find_regime, held_out_numbers
from perfmap.series import Volume

SERIES_FILE = "dsc.nii.gz"
RECORD_FILE = "case.json"
NOTE = "simulated, research only"
_WHOLE = ("labels", "mask", "nawm")
_TRUTH_QUANTITY = frozenset({"cbv", "nrcbv", "cbf", "mtt", "delay", "ktrans"})


class PlannedCase(Protocol):
    """A case still to be made: its folder name, its record, and how the record becomes a series."""

    @property
    def name(self) -> str:
        """Folder name."""

    def parameters(self) -> CaseParameters:
        """Return the record of the case."""

    def simulate(self, case: CaseParameters) -> SimulatedCase:
        """Make series and truth from the record."""


class Maker(Protocol):
    """Writes one case."""

    def __call__(self, place: Path, planned: PlannedCase, /, *, overwrite: bool = False) -> Path:
        """Write the case at `place` and return where it is."""


@dataclass(frozen=True)
class DrawnCase:
    """A case of a regime, drawn from its seed."""

    name: str
    regime: str
    seed: tuple[int, ...]
    geometry: str
    n_slices: int | None

    def parameters(self) -> CaseParameters:
        """Draw the case."""
        rng = np.random.default_rng(self.seed)
        return draw_case(rng, regime=self.regime, geometry=self.geometry, n_slices=self.n_slices)

    def simulate(self, case: CaseParameters) -> SimulatedCase:
        """Make series and truth."""
        return simulate_case(case)


@dataclass(frozen=True)
class ReplayedCase:
    """A recorded case, perhaps with changes."""

    name: str
    record: str

    def parameters(self) -> CaseParameters:
        """Read the record."""
        return CaseParameters.model_validate_json(self.record)

    def simulate(self, case: CaseParameters) -> SimulatedCase:
        """Make series and truth."""
        return simulate_case(case)


def plan_cases(
    *, regime: str, n: int, seed: int, geometry: str = "native", n_slices: int | None = None
) -> list[DrawnCase]:
    """List the cases of a run; the seed of a case depends on the run's seed, its regime and its number alone.

    Parameters
    ----------
    regime : str
        Name of a regime, or ``all`` for each of them but ``training``.
    n : int
        Cases of each regime.
    seed : int
        Seed of the run.
    geometry : str
        ``native``, ``upenn`` or ``stack``.
    n_slices : int, optional
        Slices of a stack, or of the middle of a whole volume.

    Raises
    ------
    ConfigError
        If the regime is unknown.
    """
    names = [name for name in REGIMES if name != "training"] if regime == "all" else [regime]
    for name in names:
        find_regime(name)
    return [
        DrawnCase(f"{name}-{index:04d}", name, (seed, zlib.crc32(name.encode()), index), geometry, n_slices)
        for name in names
        for index in range(n)
    ]


def plan_replay(record: Path, changes: Sequence[str], *, name: str | None = None) -> ReplayedCase:
    """Plan the replay of a recorded case, with some of its parameters changed.

    Parameters
    ----------
    record : Path
        ``case.json`` of the case.
    changes : sequence of str
        ``name=value`` each, the name as in the record's acquisition (``echo_time``, ``artefacts.snr``).
    name : str, optional
        Folder name; that of the recorded case with the changes behind it, if not given.

    Raises
    ------
    InputError
        If the record is none.
    ConfigError
        If a change is not understood.
    """
    content = read_json(record)
    try:
        case = CaseParameters.model_validate(content)
    except ValueError as error:
        raise InputError(f"{record} is no record of a simulated case: {_first_line(error)}") from error
    pairs = dict(parse_change(change) for change in changes)
    case = change_case(case, pairs)
    suffix = "".join(f"_{key}-{value}" for key, value in sorted(pairs.items()))
    stem = name or f"{record.resolve().parent.name}{suffix}"
    return ReplayedCase(stem, case.model_dump_json())


def parse_change(text: str) -> tuple[str, Any]:
    """Split ``name=value``; the value is JSON where it reads as JSON, else a string.

    Raises
    ------
    ConfigError
        If there is no ``=``.
    """
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ConfigError(f"--set {text} was not understood, wanted NAME=VALUE, e.g. echo_time=0.04")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def simulate_cases(
    output: Path,
    planned: Sequence[PlannedCase],
    *,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    make: Maker | None = None,
) -> list[Path]:
    """Write every planned case into its own folder; cases that are already there are left as they are.

    Parameters
    ----------
    output : Path
        Folder of all cases.
    planned : sequence of PlannedCase
        What to make.
    jobs : int
        Processes.
    overwrite : bool
        Make finished cases again.
    progress : callable, optional
        Called with (done, total).
    make : callable, optional
        Writes one case, given its place, the plan and ``overwrite``; `make_case` if not given.

    Returns
    -------
    list of Path
        Folders (or files) of the cases, in the order of `planned`.

    Raises
    ------
    ConfigError
        If a folder holds another case and `overwrite` is False.
    InputError
        If a file cannot be written.
    """
    check_output(output / ".perfmap-simulate")
    made: dict[int, Path] = {}
    for number, path in _run(output, planned, make or make_case, jobs=jobs, overwrite=overwrite):
        made[number] = path
        if progress is not None:
            progress(len(made), len(planned))
    return [made[number] for number in range(len(planned))]


def _run(
    output: Path, planned: Sequence[PlannedCase], make: Maker, *, jobs: int, overwrite: bool
) -> Iterator[tuple[int, Path]]:
    if jobs <= 1 or len(planned) <= 1:
        for number, case in enumerate(planned):
            yield number, make(output / case.name, case, overwrite=overwrite)
        return
    context = multiprocessing.get_context("spawn")
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the workers when numpy is loaded there
    try:
        with ProcessPoolExecutor(min(jobs, len(planned)), mp_context=context) as pool:
            waiting = {
                pool.submit(make, output / case.name, case, overwrite=overwrite): number
                for number, case in enumerate(planned)
            }
            for finished in as_completed(waiting):
                yield waiting[finished], finished.result()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def make_case(folder: Path, planned: PlannedCase, *, overwrite: bool = False) -> Path:
    """Simulate one case and write it, unless it is there already; the record is written last.

    Raises
    ------
    ConfigError
        If the folder holds another case and `overwrite` is False.
    """
    case = planned.parameters()
    record = folder / RECORD_FILE
    wanted = json_text(case.model_dump(mode="json"))
    if record.is_file() and not overwrite:
        if record.read_text("utf-8") == wanted:
            return folder
        raise ConfigError(f"{folder} holds another case; give --overwrite, or another output folder")
    record.unlink(missing_ok=True)
    write_case(folder, planned.simulate(case))
    write_json(case.model_dump(mode="json"), record, overwrite=True)
    return folder


def write_case(folder: Path, simulated: SimulatedCase) -> None:
    """Write series, sidecar and truth maps of a case; equal cases give equal bytes.

    Parameters
    ----------
    folder : Path
        Folder of the case; made where it is missing.
    simulated : SimulatedCase
        The case.
    """
    series = series_of(simulated)
    whole = simulated.case.acquisition.artefacts.int16
    write_series(series, folder / SERIES_FILE, dtype=np.int16 if whole else np.float32, overwrite=True)
    write_json(sidecar(simulated), folder / "dsc.json", overwrite=True)
    for name, array in simulated.truth.items():
        quantity = name if name in _TRUTH_QUANTITY else ""
        dtype = np.uint8 if name in _WHOLE else np.float32
        volume = Volume(_plain_array(array), simulated.affine, quantity)
        write_volume(volume, folder / f"truth_{name}.nii.gz", grid=None, dtype=dtype, overwrite=True)


def sidecar(simulated: SimulatedCase) -> dict[str, Any]:
    """Describe a series in the keys of BIDS, times in seconds."""
    acquisition = simulated.case.acquisition
    content: dict[str, Any] = {
        "RepetitionTime": simulated.time_step,
        "EchoTime": simulated.echo_time,
        "FlipAngle": acquisition.flip_angle,
        "MagneticFieldStrength": acquisition.field_strength,
        "PulseSequenceType": acquisition.sequence,
        "ContrastBolusIngredient": acquisition.agent,
        "Note": NOTE,
        "Regime": simulated.case.regime,
        "GeneratedBy": {"Name": "perfmap", "Version": __version__},
    }
    if held_out := held_out_numbers(acquisition):
        content["HeldOut"] = held_out
    if simulated.repetition_time != simulated.time_step:
        content["RepetitionTimeExcitation"] = simulated.repetition_time
    return content


def _plain_array(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.uint8) if array.dtype == bool else array


def _first_line(error: ValueError) -> str:
    return " ".join(str(error).split())[:160]
