"""Training examples, and the simulator that gives them afresh every epoch."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.models.card import InputContract
from perfmap.phantom.case import CaseParameters, draw_case, series_of, simulate_case
from perfmap.phantom.priors import LABELS, LESION_CLASSES
from perfmap.preprocess.pipeline import Prepared, network_slice, prepare_series
from perfmap.preprocess.resample import brain_box, to_matrix
from perfmap.series import FloatArray

HalfArray = NDArray[np.float16]

TRAIN, VALIDATION, TEST = 0, 1, 2
CROP = 8
"""Edges of cropped slices are multiples of this, as the levels of a network want it."""
MIN_WHITE = 30
"""Fewest voxels of white matter whose mean is a level."""
RESIDUAL_MOTION, UNREGISTERED = (0.02, 0.3), 0.1
SMALL_CLASSES = ("csf", "vessel_artery", "vessel_vein")
"""Labels that `nrmse_tissue` leaves out; few and bright or empty, they would otherwise rule a squared loss."""
_ATTEMPTS = 20
_KNOWN = 0.99
"""Least share of a pixel whose target is known, for the pixel to count."""


@dataclass(frozen=True)
class Stack:
    """Slices of one subject as a network meets them.

    Attributes
    ----------
    curves : ndarray, float16, shape (n, c, h, w)
        Channels, the curves' points first; see `perfmap.preprocess.pipeline.network_slice`.
    valid : ndarray, float32, shape (k,)
        What is told of the series as a whole: `perfmap.preprocess.pipeline.Prepared.context`.
    target : ndarray, float16, shape (n, h, w)
        Reference map.
    coverage : ndarray, float16, shape (n, h, w)
        Share of each pixel that is brain.
    tissue, lesion, white : ndarray of bool, shape (n, h, w)
        Brain without vessels and CSF (all of the brain where no labels are known); lesions; normal-appearing
        white matter.
    white_level : float
        Mean first-pass map over normal-appearing white matter in units of the series' scale; 0 where it is not known.
    """

    curves: HalfArray
    valid: FloatArray
    target: HalfArray
    coverage: HalfArray
    tissue: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    white: NDArray[np.bool_]
    white_level: float

    def __len__(self) -> int:
        return len(self.target)


def stack_examples(
    prepared: Prepared,
    target: NDArray[np.floating],
    labels: NDArray[np.integer] | None,
    slices: Sequence[int],
    *,
    nawm: NDArray[np.bool_] | None = None,
) -> Stack:
    """Examples of the given slices of a prepared series and its reference map on the same grid.

    Pixels whose target is not finite (no reading) are taken for outside of the brain.
    """
    known = np.isfinite(target)
    target = np.where(known, target, 0)
    axis, inputs, nothing = prepared.axis, prepared.inputs, np.zeros(target.shape, dtype=bool)
    classes = [
        nothing if labels is None else np.isin(labels, [LABELS[name] for name in names])
        for names in (SMALL_CLASSES, LESION_CLASSES)
    ]
    white = nothing if nawm is None else np.asarray(nawm, dtype=bool) & prepared.mask
    channels, coverages, maps = [], [], []
    for k in slices:
        image, coverage = network_slice(prepared, k)
        planes = [np.moveaxis(volume, axis, 0)[k] for volume in (target, *classes, white, known)]
        mask = np.moveaxis(prepared.mask, axis, 0)[k]
        resampled, _ = to_matrix(
            np.stack(planes, axis=-1).astype(np.float32), mask, image.shape[-1], inputs.interpolation
        )
        channels.append(image.astype(np.float16))
        if not known.all():
            coverage = np.where(resampled[..., 4] > _KNOWN, coverage, 0)
        coverages.append(coverage.astype(np.float16))
        maps.append(resampled)
    cover, found = np.stack(coverages), np.stack(maps)
    enough = int(white.sum()) >= MIN_WHITE
    return Stack(
        curves=np.stack(channels),
        valid=prepared.context,
        target=found[..., 0].astype(np.float16),
        coverage=cover,
        tissue=(cover > 0.5) & (found[..., 1] < 0.5),
        lesion=(cover > 0.5) & (found[..., 2] >= 0.5),
        white=(cover > 0.5) & (found[..., 3] >= 0.5),
        white_level=float(prepared.first_pass[white].mean() / prepared.scale) if enough else 0.0,
    )


def crop_to_brain(stack: Stack, *, multiple: int) -> Stack:
    """The same stack without the empty rim around the brain, its edges multiples of `multiple` where there is room."""
    cut = (Ellipsis, *brain_box(stack.coverage.max(axis=0) > 0, multiple=multiple))
    names = ("curves", "target", "coverage", "tissue", "lesion", "white")
    cropped: dict[str, Any] = {name: np.ascontiguousarray(getattr(stack, name)[cut]) for name in names}
    return replace(stack, **cropped)


def simulated_stack(
    inputs: InputContract, *, seed: int, part: int, index: int, n_slices: int, regime: str = "training"
) -> Stack:
    """The `index`-th simulated subject of a part, as training examples; the same numbers give the same bytes.

    A draw in which no bolus can be found is drawn again. Networks that read the maps beside the curves are trained on
    series as registration leaves them (`as_registered`), cropped to the brain.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, part, index, attempt])
        case = draw_case(rng, regime=regime, geometry="stack", n_slices=n_slices)
        if inputs.features == "curves+maps":
            case = as_registered(case, np.random.default_rng([seed, part, index, attempt, 1]))
        simulated = simulate_case(case)
        series = series_of(simulated)
        try:
            prepared = prepare_series(series, inputs)
        except InputError:
            continue
        truth = simulated.truth
        stack = stack_examples(
            prepared, truth["nrcbv"], truth["labels"], range(n_slices), nawm=truth["nawm"].astype(bool)
        )
        return crop_to_brain(stack, multiple=CROP) if inputs.features == "curves+maps" else stack
    raise InputError(
        f"regime '{regime}' gave no usable series in {_ATTEMPTS} draws (seed {seed}, subject {index})"
    )


def as_registered(case: CaseParameters, rng: np.random.Generator) -> CaseParameters:
    """A case whose head moves as little as registration leaves over: by 2 to 30 % of what was drawn, one in ten by all.

    What is left is around the mean pose of the first images, as registration leaves it. The truth is where the head was
    at the very first: that offset remains, as it does in a registered series.

    Registering every series of a training run would take ten times as long as simulating it.
    """
    share = float(rng.uniform(*RESIDUAL_MOTION)) if rng.random() > UNREGISTERED else 1.0
    less = case.acquisition.motion.model_copy(update={"left": share})
    return case.model_copy(update={"acquisition": case.acquisition.model_copy(update={"motion": less})})


def save_stack(stack: Stack, path: Path) -> None:
    """Keep a stack on disk, to be seen again; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    with partial.open("wb") as file:
        np.savez(file, **{name: getattr(stack, name) for name in Stack.__dataclass_fields__})
    partial.replace(path)


def load_stack(path: Path) -> Stack:
    """A stack from disk."""
    with np.load(path) as content:
        arrays = {name: content[name] for name in Stack.__dataclass_fields__}
    return Stack(**arrays | {"white_level": float(arrays["white_level"])})


def kept_stack(
    inputs: InputContract, *, seed: int, part: int, index: int, n_slices: int, folder: Path
) -> Stack:
    """A simulated subject from `folder`, made and kept there where it is missing."""
    path = folder / f"{part}-{index:06d}.npz"
    if path.is_file():
        return load_stack(path)
    stack = simulated_stack(inputs, seed=seed, part=part, index=index, n_slices=n_slices)
    save_stack(stack, path)
    return stack


def _limit_threads() -> None:
    """A worker simulates on one core: its arrays are small, and the other cores have workers of their own."""
    import torch

    os.nice(5)
    torch.set_num_threads(1)


class SimulatedStacks:
    """Simulated subjects, made by worker processes ahead of their use.

    Parameters
    ----------
    inputs : InputContract
    seed : int
    n_slices : int
        Slices a subject.
    workers : int
        Processes.
    folder : Path, optional
        Where subjects are kept, to be seen again.
    """

    def __init__(
        self, inputs: InputContract, *, seed: int, n_slices: int, workers: int, folder: Path | None = None
    ) -> None:
        self._inputs, self._seed, self._n_slices, self._folder = inputs, seed, n_slices, folder
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(max(workers, 1), mp_context=context, initializer=_limit_threads)

    def submit(self, part: int, indices: Sequence[int]) -> list[Future[Stack]]:
        """Start making the subjects `indices` of a part."""
        if self._folder is not None:
            return [
                self._pool.submit(
                    kept_stack,
                    self._inputs,
                    seed=self._seed,
                    part=part,
                    index=i,
                    n_slices=self._n_slices,
                    folder=self._folder,
                )
                for i in indices
            ]
        return [
            self._pool.submit(
                simulated_stack, self._inputs, seed=self._seed, part=part, index=i, n_slices=self._n_slices
            )
            for i in indices
        ]

    def kept(self, part: int, index: int) -> Stack:
        """A subject that was made before, from the folder."""
        assert self._folder is not None
        return kept_stack(
            self._inputs,
            seed=self._seed,
            part=part,
            index=index,
            n_slices=self._n_slices,
            folder=self._folder,
        )

    def close(self) -> None:
        """Stop the workers; what was not begun is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
