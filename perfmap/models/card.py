"""The card that travels with every set of weights: what goes in, what comes out, what it was trained on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Normalisation = Literal["log-ratio", "training-max"]
TimeAlignment = Literal["arrival", "as-acquired"]
Interpolation = Literal["linear", "nearest"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputContract(_Frozen):
    """How a series becomes a network's input; training and prediction both read it from here.

    Attributes
    ----------
    matrix : int
        Edge of the square in-plane matrix the network sees.
    n_times : int
        Number of time points the network sees.
    time_alignment : {"arrival", "as-acquired"}
        ``arrival``: the curves are interpolated onto a grid in seconds around the bolus arrival.
        ``as-acquired``: the paper's way, the series' own `n_times` volumes, untouched.
    time_step : float
        Step of that grid, s.
    before_arrival : float
        Time from the first grid point to the bolus arrival, s.
    interpolation : {"linear", "nearest"}
        In-plane resampling to `matrix`; the paper's is nearest neighbour.
    normalisation : {"log-ratio", "training-max"}
        ``log-ratio``: −ln(S/S0) divided by the series' own mean first-pass integral.
        ``training-max``: the paper's, S divided by the largest intensity of the training part.
    training_max : float or None
        That intensity; wanted by ``training-max``, absent otherwise.
    features : {"curves", "curves+maps"}
        ``curves+maps``: the conventional maps, noise and brightness follow the curves as channels, the protocol
        follows the validity of the time points; see `perfmap.preprocess.features`.
    reference_curve : bool
        With ``curves+maps``: the mean curve of tissue that does not leak follows the protocol.
    reference_fit : bool
        With ``curves+maps``: what `perfmap.physics.reference_fit` finds follows the maps as channels.
    t1_weighting : bool
        With ``curves+maps``: what flip angle and field strength say of T1 comes last in the context.
    native_from : float or None
        Slices whose pixels are at least this long, mm, keep their own matrix (up to 256); finer ones are brought to
        `matrix`. None: all are.
    """

    matrix: int = Field(default=128, ge=32, le=512, multiple_of=32)
    n_times: int = Field(default=45, ge=20, le=512)
    time_alignment: TimeAlignment = "arrival"
    time_step: float = Field(default=1.5, gt=0, le=5)
    before_arrival: float = Field(default=22.5, ge=0)
    interpolation: Interpolation = "linear"
    normalisation: Normalisation = "log-ratio"
    training_max: float | None = Field(default=None, gt=0)
    features: Literal["curves", "curves+maps"] = "curves"
    reference_curve: bool = False
    reference_fit: bool = False
    t1_weighting: bool = False
    native_from: float | None = Field(default=None, gt=0)

    @property
    def scale_invariant(self) -> bool:
        """Whether a factor on the signal leaves the map as it is."""
        return self.normalisation == "log-ratio"

    @model_validator(mode="after")
    def _training_max_belongs_to_its_strategy(self) -> InputContract:
        if (self.normalisation == "training-max") != (self.training_max is not None):
            raise ValueError("training_max is wanted with normalisation 'training-max', and only there")
        return self

    @model_validator(mode="after")
    def _these_belong_to_the_maps(self) -> InputContract:
        beside = [
            name for name in ("reference_curve", "reference_fit", "t1_weighting") if getattr(self, name)
        ]
        if beside and (self.features != "curves+maps" or self.normalisation != "log-ratio"):
            raise ValueError(f"{beside[0]} is read beside the maps: features 'curves+maps', 'log-ratio'")
        return self


class Uncertainty(_Frozen):
    """How the second channel of a network's output becomes a standard deviation.

    The network's second channel is the natural logarithm of the scale of its error, in the map's own scale, before both
    are divided by the level of white matter.

    Attributes
    ----------
    distribution : {"gaussian", "laplace", "quantiles"}
        What the scale was trained by. ``gaussian``: it is the standard deviation; ``laplace``: it is b, and the
        standard deviation is √2·b; ``quantiles``: it stands for the standard deviation, as it covers 68 % of the
        errors and twice it 95 %.
    sd_factor : float
        What the standard deviation is multiplied by to cover as it should; fitted on the validation part.
    correlation_length_mm : float
        Distance over which errors of neighbouring voxels are correlated, as exp(−d²/(2·l²)), mm; fitted on the
        validation part. The mean over a region is as uncertain as that correlation says.
    """

    distribution: Literal["gaussian", "laplace", "quantiles"] = "gaussian"
    sd_factor: float = Field(default=1.0, gt=0)
    correlation_length_mm: float = Field(ge=0)

    @property
    def sd_of_scale(self) -> float:
        """What the exponential of the second channel is multiplied by to be the standard deviation."""
        return self.sd_factor * (2.0**0.5 if self.distribution == "laplace" else 1.0)


class OutputContract(_Frozen):
    """What the map means.

    Attributes
    ----------
    quantity, unit, description : str
    reference : {"white-matter", "brightest", "network"}
        What the map's scale refers to. ``white-matter``: the network's map is divided by its own level in the white
        matter that is found in the series; ``brightest``: its 99.9th percentile, outside of the brain included, is
        brought to `brightest`, as CaPTk defines the scale of ap-rCBV: one that depends on the slices and the field of
        view of a series, and is meant for skull-stripped ones; ``network``: it is left as the network gives it.
    brightest : float or None
        That level, in the map's unit; fitted on the validation part, as networks smooth the brightest voxels a little.
    scale : float
        The network's 1 in the map's unit, so that a network never has to give large numbers.
    uncertainty : Uncertainty or None
        None: the network predicts the map alone.
    """

    quantity: str = "nrcbv"
    unit: str = "1"
    description: str = "CBV relative to the mean CBV of normal-appearing white matter"
    reference: Literal["white-matter", "brightest", "network"] = "white-matter"
    brightest: float | None = Field(default=None, gt=0)
    scale: float = Field(default=1.0, gt=0)
    uncertainty: Uncertainty | None = None

    @model_validator(mode="after")
    def _level_belongs_to_its_reference(self) -> OutputContract:
        if (self.reference == "brightest") != (self.brightest is not None):
            raise ValueError("brightest is wanted with reference 'brightest', and only there")
        return self


class LossCurve(_Frozen):
    """Losses of every epoch of a run, first to last, as ``log.csv`` has them."""

    training: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()


class StartingPoint(_Frozen):
    """A checkpoint that another was trained on from: its name and the hash of its weights."""

    name: str
    sha256: str


class TrainingRecord(_Frozen):
    """Where the weights come from: enough to train them again.

    Attributes
    ----------
    data : str
        What the network saw.
    seed : int
    n_train_slices, n_validation_slices : int
        Different slices simulated or read for training over the whole run, and slices of the validation part.
    epochs, best_epoch, steps : int
        The weights are those of the best epoch.
    seconds, slices_per_second : float
        Wall-clock time of all processes together, and slices trained on in a second of it.
    ended_by : {"patience", "epochs", "minutes", "interrupted"}
        ``patience``: the validation loss had stopped falling. ``epochs`` and ``minutes``: the budget ended first.
        ``interrupted``: the run was stopped from outside.
    config : dict
        The resolved settings of the run.
    perfmap_version : str
    processes : int
        Processes that trained together.
    started_from : StartingPoint or None
        Checkpoint whose weights training began with; None: random ones.
    curve : LossCurve or None
        None in cards from before it was kept.
    remark : str or None
        What was done to the weights after the run, in words.
    """

    data: str
    seed: int
    n_train_slices: int
    n_validation_slices: int
    epochs: int
    best_epoch: int
    steps: int
    seconds: float
    slices_per_second: float
    ended_by: Literal["epochs", "minutes", "patience", "interrupted"]
    config: dict[str, Any]
    perfmap_version: str
    processes: int = Field(default=1, ge=1)
    started_from: StartingPoint | None = None
    curve: LossCurve | None = None
    remark: str | None = None


class ModelCard(_Frozen):
    """``card.json``: weights never travel without it.

    Attributes
    ----------
    name : str
        Name under which the model is called.
    architecture : str
        Key of `perfmap.models.ARCHITECTURES`.
    arguments : dict
        Keyword arguments of the network's class.
    inputs, outputs : InputContract, OutputContract
    scale_invariant : bool
        Stated apart for readers of the JSON; must agree with `inputs`.
    parameters, multiply_adds : int
        Size, and multiply-adds for one slice.
    training : TrainingRecord
    scores : dict
        Figures measured on data that the training never saw, keyed by metric.
    sha256 : str
        Of ``model.safetensors``.
    licence, intended_use, limits : str
    """

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    architecture: str
    arguments: dict[str, Any]
    inputs: InputContract
    outputs: OutputContract = OutputContract()
    scale_invariant: bool
    parameters: int
    multiply_adds: int
    training: TrainingRecord
    scores: dict[str, float]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    licence: str = "Apache-2.0"
    intended_use: str = "Research use only. Not for diagnosis."
    limits: str = (
        "Trained on simulated DSC-MRI with exact ground truth, never on patients; not clinically validated. "
        "No real series with a reference CBV map was available to test it on."
    )

    @model_validator(mode="after")
    def _flags_agree(self) -> ModelCard:
        if self.scale_invariant != self.inputs.scale_invariant:
            raise ValueError("scale_invariant contradicts the normalisation in inputs")
        return self
