r"""The neuron cells for listening, in numpy: what a step does, without what only learning needs.

The equations are those of `snn.cells`, in the same order of operations, on arrays that are changed in place: given the same currents they emit the
same spikes to the last bit. There is no pseudo-derivative and no gradient.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snn.config import LearnerConfig

Floats = NDArray[np.float32]
TAU_RANGE_STEPS = (0.5, 50.0)  # as `snn.populations` clamps time constants
THRESHOLD = np.float32(1.0)


class Cell(Protocol):
    """A population at work."""

    z: Floats  # [..., N] spikes of the last step

    def step(self, current: Floats) -> Floats:
        """Advance by one step with the summed input [..., N]; return the spikes, which are valid until the next step."""


class Alif:
    """ALIF and LIF neurons, at rest: `snn.cells.alif`."""

    def __init__(self, shape: tuple[int, ...], alpha: Floats, rho: Floats, beta: Floats) -> None:
        self._alpha, self._rho, self._beta = alpha, rho, beta
        self._v, self._a, self.z, self._threshold = (np.zeros(shape, np.float32) for _ in range(4))

    def step(self, current: Floats) -> Floats:
        """Advance by one step."""
        self._v *= self._alpha
        self._v += current
        self._v -= self.z
        self._a *= self._rho
        self._a += self.z
        np.multiply(self._beta, self._a, out=self._threshold)
        self._threshold += THRESHOLD
        return np.greater_equal(self._v, self._threshold, out=self.z, casting="unsafe")


class Adlif:
    """AdLIF neurons, at rest: `snn.cells.adlif`."""

    def __init__(self, shape: tuple[int, ...], alpha: Floats, rho: Floats, a: Floats, b: Floats) -> None:
        self._alpha, self._rho, self._b = alpha, rho, b
        self._coupling, self._gain = (1 - rho) * a, 1 - alpha
        self._u, self._w, self.z, self._scratch = (np.zeros(shape, np.float32) for _ in range(4))

    def step(self, current: Floats) -> Floats:
        """Advance by one step."""
        self._w *= self._rho
        self._w += np.multiply(self._coupling, self._u, out=self._scratch)
        self._w += np.multiply(self._b, self.z, out=self._scratch)
        self._u -= self.z
        self._u *= self._alpha
        np.subtract(current, self._w, out=self._scratch)
        self._scratch *= self._gain
        self._u += self._scratch
        return np.greater_equal(self._u, THRESHOLD, out=self.z, casting="unsafe")


class Board:
    """The adaptive neurons of a SpiNNaker board, at rest: `snn.cells.board`."""

    def __init__(self, shape: tuple[int, ...], alpha: Floats, rho: Floats, jump: Floats) -> None:
        self._alpha, self._rho, self._jump = alpha, rho, jump
        self._v, self._c, self.z, self._scratch = (np.zeros(shape, np.float32) for _ in range(4))

    def step(self, current: Floats) -> Floats:
        """Advance by one step."""
        self._c += np.multiply(self._jump, self.z, out=self._scratch)
        self._c *= self._rho
        np.subtract(1, self.z, out=self._scratch)
        self._scratch *= self._alpha
        self._v *= self._scratch
        self._v += current
        self._v -= self._c
        return np.greater_equal(self._v, THRESHOLD, out=self.z, casting="unsafe")


KINDS: Mapping[str, Callable[..., Cell]] = {"lif": Alif, "alif": Alif, "adlif": Adlif, "board": Board}


def parameters(config: LearnerConfig, weights: Mapping[str, Floats], prefix: str = "") -> tuple[Floats, ...]:
    """Build the parameters of a population's cells from primed arrays, as `snn.populations.cell_params` does.

    Args:
        config: of the learner.
        weights: primed, float32.
        prefix: "feature." for the feature population, "" for the learning network.

    Returns:
        What the cell in `KINDS` takes after the shape, [N] each.
    """
    low, high = (steps * config.step_ms for steps in TAU_RANGE_STEPS)
    taus = (np.exp(weights[f"{prefix}log_tau_{name}"]).clip(low, high) for name in ("membrane", "adaptation"))
    alpha, rho = (np.exp(-config.step_ms / tau).astype(np.float32) for tau in taus)
    count = np.arange(len(alpha) + 1, dtype=np.float64)  # adaptive neurons are spread evenly over the population
    adaptive = (np.diff(np.floor(count * config.adaptive_fraction + 0.5)) > 0).astype(np.float32)
    if config.cell == "adlif":
        return alpha, rho, weights[f"{prefix}a"] * adaptive, weights[f"{prefix}b"].clip(0) * adaptive
    if config.cell == "board":
        return alpha, rho, weights[f"{prefix}jump"].clip(0) * adaptive
    return alpha, rho, weights[f"{prefix}beta"].clip(0) * adaptive * np.float32(config.cell == "alif")
