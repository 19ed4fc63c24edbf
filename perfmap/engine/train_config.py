"""Settings of a training run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from perfmap.models.card import InputContract
from perfmap.preprocess.features import channel_maps, context_length

SIMULATOR = "simulator"


class TrainConfig(BaseModel):
    """Everything a training run depends on; saved beside its results.

    Attributes
    ----------
    name : str
        Name of the model.
    architecture, arguments
        Network and its keyword arguments.
    inputs : InputContract
    start_from : str or None
        Shipped name or folder of a checkpoint whose weights training begins with; random ones if None.
    data : str
        ``simulator``, or a cohort folder or CSV manifest.
    target : str
        Quantity of the reference maps.
    slices : str
        Slice rule for cohorts: ``paper``, ``all`` or start:stop:step.
    seed : int
    epochs : int
        Upper bound; the cosine schedule ends there.
    minutes : float or None
        Wall-clock budget. The schedule then follows whichever of the two is further on.
    patience : int or None
        Epochs without a better validation loss after which training ends.
    subjects_per_epoch, slices_per_subject, passes : int
        Simulator only: fresh subjects an epoch, slices of each, and how often each slice is seen.
    replayed_subjects : int
        Simulator only: subjects of earlier epochs that are seen again in each epoch, from the run folder; 0 keeps none.
    replay_from : str or None
        Simulator only: folder of an earlier run whose training subjects are among those that are seen again.
    validation_subjects : int
        Simulator only.
    calibration_subjects : int
        Simulator only, networks that give a standard deviation: validation subjects it is fitted to; 0 leaves it out.
    batch : int
    learning_rate, weight_decay : float
        Of AdamW.
    schedule : {"cosine", "plateau", "constant"}
    ema : float
        Decay of the running average of the weights that is validated and kept; 0 keeps the weights themselves.
    small_class_weight : float
        Weight of vessel and CSF pixels in the squared loss; 1 is the paper's plain MSE.
    lesion_weight : float
        Weight of lesions in the loss, where labels say what is one.
    scrambled : float
        Share of training slices whose pieces change places, so that looks cannot replace reading the curves.
    balanced : bool
        Networks that give a map alone: weigh a pixel by 1/(0.5 + 0.5·reference), so that lesions of high CBV do not
        rule the loss; off in the paper. The others have relative errors in lesions anyway.
    target_limit : float or None
        Reference values are clipped here in the loss; None clips nothing.
    precision : {"auto", "bf16", "fp32"}
        ``auto``: bf16 autocast on a processor or card that computes in it.
    deterministic : bool
        The same seed gives the same weights on the same machine and number of threads.
    workers : int
        Processes that simulate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    inputs: InputContract = InputContract()
    start_from: str | None = None
    data: str = SIMULATOR
    target: str = "nrcbv"
    slices: str = "all"
    seed: int = 0
    epochs: int = Field(default=60, ge=1)
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    patience: int | None = Field(default=None, ge=1)
    subjects_per_epoch: int = Field(default=160, ge=1)
    slices_per_subject: int = Field(default=6, ge=1)
    passes: int = Field(default=3, ge=1)
    replayed_subjects: int = Field(default=0, ge=0)
    replay_from: str | None = None
    validation_subjects: int = Field(default=24, ge=1)
    calibration_subjects: int = Field(default=120, ge=0)
    batch: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    ema: float = Field(default=0.998, ge=0, lt=1)
    small_class_weight: float = Field(default=0.1, ge=0, le=1)
    lesion_weight: float = Field(default=1.0, gt=0)
    scrambled: float = Field(default=0.0, ge=0, le=1)
    balanced: bool = True
    target_limit: float | None = Field(default=15.0, gt=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    deterministic: bool = False
    workers: int = Field(default=1, ge=1)


def default_inputs(architecture: str) -> InputContract:
    """What a network reads if nobody says otherwise: the paper's networks curves alone, `voxel-unet` the maps too."""
    if architecture == "voxel-unet":
        return InputContract(
            n_times=40,
            before_arrival=7.5,
            features="curves+maps",
            reference_curve=True,
            reference_fit=True,
            t1_weighting=True,
            native_from=1.4,
        )
    return InputContract()


def network_arguments(inputs: InputContract) -> dict[str, int]:
    """Keyword arguments of a network's class that follow from what it reads."""
    arguments = {"n_times": inputs.n_times}
    if inputs.reference_curve or inputs.t1_weighting:
        arguments["n_scalars"] = context_length(inputs) - inputs.n_times
    if inputs.reference_fit:
        arguments["n_maps"] = len(channel_maps(inputs))
    return arguments
