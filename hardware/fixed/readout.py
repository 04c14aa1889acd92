"""The readout on the host that a board is attached to: float32 arithmetic on spikes; the equations are those of `snn.readout`."""

from collections import deque
from collections.abc import Mapping

import numpy as np

from hardware.numpy_cells import Floats
from snn.config import LearnerConfig


class HostReadout:
    """The readout units and their delay lines, one step at a time for Q streams.

    Args:
        config: of the learner.
        weights: primed, float32.
        streams: Q.
    """

    def __init__(self, config: LearnerConfig, weights: Mapping[str, Floats], streams: int) -> None:
        self._kappa, self._delays = config.readout_kappa, config.delays
        self._project, self._center = weights["readout.project"].T, weights["center"]
        self._salience, self._salience_bias, self._gain = (weights[f"readout.{name}"] for name in ("salience", "salience_bias", "gain"))
        self._units: Floats = np.zeros((streams, config.projection), np.float32)
        depth = max(config.delays) + 1
        self._line: deque[Floats] = deque([self._units] * depth, maxlen=depth)

    def step(self, heard: Floats) -> Floats:
        """Advance by what is heard, [Q, H]; return the features f [Q, D K]."""
        salience = (1 + np.tanh((heard @ self._salience + self._salience_bias) / 2)) / 2  # the logistic function, without overflow
        drive = salience[:, None] * ((heard - self._center) @ self._project)
        self._units = (self._kappa * self._units + (1 - self._kappa) * drive).astype(np.float32, copy=False)
        self._line.append(self._units)
        return (np.stack([self._line[-1 - d] for d in self._delays], 1) * self._gain).reshape(len(heard), -1)
