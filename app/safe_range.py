r"""The range in which a network stays whatever it learns: bounds on the change of its weights and on what it does afterwards.

A word is learnt by one change of W_in and W_rec, whose size depends on what was heard. Before a word is kept the change and the changed network are
compared with the primed ones. Four bounds must hold:

* **size**: :math:`\lVert\Delta W\rVert \le \lVert W\rVert` for either projection: what priming found stays the larger part;
* **16 bits**: every weight, and everything that excites or inhibits a neuron within a step, fits the 16-bit weights and ring buffers of a SpiNNaker
  board, laid out for twice the primed weights' range (`hardware.fixed.quantiser`), on background and on the word's own utterances;
* **rate**: the network's mean firing rate on background stays between a quarter and twice the primed network's: neither silent nor in tumult;
* **saturation**: no neuron fires in more than 95 % of the steps, where the primed network's do not.

The bounds leave room around what 64 enrolments of validation words did (docs/safe_learning.md). The check runs on the host in float32, whatever
backend the word was learnt on, and says nothing about the word's decisions: for these see `app.safety`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.errors import AppError
from app.word_file import StoredWord

if TYPE_CHECKING:
    from torch import Tensor

    from priming.model import PrimedModel

MOST_CHANGE = 1.0  # norm of a change, relative to the primed weights
RATES = (0.25, 2.0)  # of the mean firing rate, relative to the primed network's
HEADROOM = 2.0  # of 16-bit weights and inputs over what the primed ones need: one bit
MOST_FIRING = 0.95  # spikes a step of a neuron
PIECES, PIECE_MS = 40, 1600.0  # of the background bank


class SafetyError(AppError):
    """A word that would be unsafe to keep, with the reason and what to do."""


@dataclass(frozen=True)
class Regime:
    """What a network does and how its weights changed, relative to the primed ones."""

    change_in: float  # norm of the change of W_in over that of W_in
    change_rec: float
    fullness: float  # largest weight or summed input of a step, as a share of what 16 bits hold
    rate: float  # mean spikes a step of a neuron on background
    most: float  # spikes a step of the busiest neuron


class SafeRange:
    """The bounds of a primed model.

    Args:
        model: the primed model.

    Attributes:
        primed: what the primed network itself does.
    """

    def __init__(self, model: "PrimedModel") -> None:
        import torch

        from hardware.fixed.arithmetic import FRACTION_BITS
        from hardware.fixed.quantiser import LARGEST_STORED, half_largest_sum, shift_of
        from hardware.torch_backend import TorchBackend
        from snn import features
        from snn.populations import cell_params, without_autapses

        self._config = model.config.learner
        weights = {name: tensor.float() for name, tensor in model.weights.items()}
        self._host = TorchBackend()
        self._host.load(self._config, weights)
        self._w_in, self._w_rec, self._bias = weights["w_in"], without_autapses(weights["w_rec"]), weights["bias"]
        self._params = cell_params(self._config, weights)
        bounds = half_largest_sum([self._w_in.numpy(), self._w_rec.numpy()])
        self._capacity = [HEADROOM * LARGEST_STORED * 2.0 ** (shift_of(bound) - FRACTION_BITS) for bound in bounds]
        steps = min(round(PIECE_MS / self._config.step_ms), len(model.background))
        chosen = np.unique(np.linspace(0, len(model.background) // steps - 1, PIECES).round().astype(np.int64)).tolist()
        pieces = np.stack([model.background[k * steps : (k + 1) * steps] for k in chosen], 1)
        with torch.no_grad():
            self._heard, _ = features.hear(self._config, weights, torch.from_numpy(pieces.astype(np.float32)))  # [T, Q, H]
        self.primed = self._regime(torch.zeros_like(self._w_in), torch.zeros_like(self._w_rec), [self._heard])

    def regime(self, word: StoredWord) -> Regime:
        """Let a word's network hear background and its own utterances."""
        import torch

        spikes = [np.concatenate([shot.inputs, shot.features], 1)[:, None] for shot in word.said]
        heard = [torch.from_numpy(own.astype(np.float32)) for own in spikes]
        return self._regime(*self._host.weight_changes(word.shots), [self._heard, *heard])

    def _regime(self, change_in: "Tensor", change_rec: "Tensor", heard: "list[Tensor]") -> Regime:
        import torch

        from snn import network

        w_in, w_rec = self._w_in + change_in, self._w_rec + change_rec
        rates, filled = torch.zeros(len(w_in)), 0.0
        with torch.no_grad():
            for number, h in enumerate(heard):
                z = network.run(h @ w_in.T + self._bias, w_rec, self._params).z  # [T, Q, N]
                arrived = torch.cat([h, network.delayed(z)], -1)
                for sign, capacity in zip((1, -1), self._capacity, strict=True):
                    magnitudes = (sign * torch.cat([w_in, w_rec], 1)).clamp_min(0)
                    largest = max(float(magnitudes.max()), float((arrived @ magnitudes.T).max()))
                    filled = max(filled, largest / capacity)
                if number == 0:
                    rates = z.mean((0, 1))
        relative = [
            float(change.norm() / max(float(primed.norm()), 1e-12)) for change, primed in ((change_in, self._w_in), (change_rec, self._w_rec))
        ]
        return Regime(relative[0], relative[1], filled, float(rates.mean()), float(rates.max()))

    def check(self, word: StoredWord) -> None:
        """Check a word.

        Raises:
            SafetyError: it would leave the safe range.
        """
        if not self._config.plastic:
            return
        reason = self._reason(self.regime(word))
        if reason:
            raise SafetyError(f"'{word.info.word}' was not kept: {reason}; say it again, as a single word in a quiet place")

    def _reason(self, found: Regime) -> str | None:
        """Say which bound does not hold; a value that is no number holds none."""
        for what, change in (("input", found.change_in), ("recurrent", found.change_rec)):
            if not change <= MOST_CHANGE:
                return f"it would change the {what} weights by {change:.0%} of their size, and {MOST_CHANGE:.0%} is the most that is safe"
        if not found.fullness <= 1:
            return f"its network would need {found.fullness:.1f} times the range of 16-bit weights and inputs"
        least, most = (factor * self.primed.rate for factor in RATES)
        if not least <= found.rate <= most:
            return f"its neurons would fire {found.rate:.3f} times a step on background, outside {least:.3f} to {most:.3f}"
        if not found.most <= max(MOST_FIRING, self.primed.most):
            return f"one of its neurons would fire in {found.most:.0%} of the steps"
        return None
