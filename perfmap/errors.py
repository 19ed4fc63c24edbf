"""Everything perfmap raises on purpose.

A message is one line that says what was seen, what was wanted and how to mend it. Library code raises;
only ``perfmap.cli`` turns an error into a line on the terminal and an exit code.
"""


class PerfmapError(Exception):
    """Base of all errors that perfmap raises on purpose; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class ConfigError(PerfmapError):
    """The call itself is wrong: options that contradict each other, an output that exists, a missing extra."""

    exit_code = 2


class InputError(PerfmapError):
    """The input is refused, for a named reason."""

    exit_code = 3


class ModelError(PerfmapError):
    """A model or checkpoint is unknown, damaged, or does not fit the input."""

    exit_code = 6


class QualityError(PerfmapError):
    """The quality gate refuses the case, and the user has asked that such a map is not written."""

    exit_code = 5


class PerfmapWarning(UserWarning):
    """Something the user should know although the work goes on; shown as one line and kept in the manifest."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python or of PyTorch, says that memory ran out."""
    said = str(error)
    return (
        isinstance(error, MemoryError)
        or "OutOfMemory" in type(error).__name__
        or "allocate memory" in said
        or "can't start new thread" in said  # there is no room for its stack
    )
