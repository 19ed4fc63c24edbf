"""Brain extraction by deepbet's network, through the extra ``brain``.

Fisch et al. 2024, doi 10.48550/arXiv.2308.07003: trained on T1-weighted images; on T2*-weighted
baselines it holds where the header's orientation is right.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import ConfigError, InputError

_FEWEST_SLICES = 16  # thinner stacks are repeated outwards: the network wants a volume


def deepbet_mask(baseline: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mark the brain with deepbet, on the CPU, with the weights of its own package.

    Parameters
    ----------
    baseline : ndarray, shape (x, y, z)
        Mean signal before the bolus, arbitrary unit, RAS+: the network knows which way is up.

    Returns
    -------
    ndarray, bool, shape (x, y, z)

    Raises
    ------
    ConfigError
        If deepbet is not installed.
    InputError
        If the network sees no brain.
    """
    try:
        from deepbet import BrainExtraction
    except ImportError:
        raise ConfigError(
            "mask method 'deepbet' needs the package deepbet, which is not installed: "
            "pip install 'perfmap[brain]', or choose another method"
        ) from None
    missing = [max(0, _FEWEST_SLICES - n) for n in baseline.shape]
    before = [n // 2 for n in missing]
    volume = np.pad(
        baseline.astype(np.float32), [(b, n - b) for b, n in zip(before, missing, strict=True)], "edge"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.load, inside deepbet
        network = BrainExtraction(no_gpu=True)
    try:
        mask = network.postprocess(network.run_model(volume) > 0.5)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"deepbet sees no brain ({error}): check the orientation in the header, or give --mask"
        ) from error
    own = tuple(slice(b, b + n) for b, n in zip(before, baseline.shape, strict=True))
    return np.asarray(mask[own] > 0)
