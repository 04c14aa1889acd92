"""The primed network in the torch emulator: online e-prop from each utterance, scores as listening gives them.

What a row of the table leaves out is left out of what the utterances taught, or of the weights that are loaded. A model whose scheme no device runs
learns as in priming (`alternatives.batched`).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from alternatives.batched import BatchedBackend
from alternatives.features import PerSound, Spikes
from hardware import Shot
from hardware.torch_backend import TorchBackend
from priming.calibration import hear_pieces, scale_deployed
from priming.evaluation import Utterance
from priming.model import PrimedModel

SHOTS_KEPT = 1000  # about 100 kB each


class Network:
    """A primed model that learns words and scores queries; an utterance is learnt once, however many methods ask.

    Args:
        model: primed.
        spikes: of the model's encoder.
        weights: loaded in place of the model's own.
    """

    def __init__(self, model: PrimedModel, spikes: Spikes, weights: Mapping[str, Tensor] | None = None) -> None:
        self._model, self._spikes = model, spikes
        runs = model.config.learner.theta != "weights" and model.config.learner.inner == "eprop"
        self._backend: TorchBackend | BatchedBackend = TorchBackend() if runs else BatchedBackend()
        self._backend.load(model.config.learner, model.weights if weights is None else weights)
        self._background = hear_pieces(self._backend, model)
        self._changes: list[tuple[float, float]] = []
        self._taught = PerSound(self._learn, SHOTS_KEPT)

    def learn(self, utterance: Utterance) -> list[Shot]:
        """Learn from an utterance at every speed of the model."""
        return [self._taught(heard) for heard in utterance.at_speeds(self._model.config.speeds)]

    def _learn(self, utterance: Utterance) -> Shot:
        shot = self._backend.learn(self._spikes(utterance))
        if isinstance(self._backend, TorchBackend):
            changed = zip(("w_in", "w_rec"), self._backend.weight_changes([shot]), strict=True)
            shares = [float(change.norm()) / float(self._model.weights[name].norm()) for name, change in changed]
            self._changes.append((shares[0], shares[1]))
        return shot

    @property
    def mean_change(self) -> tuple[float, float] | None:
        """The norm of an utterance's changes of W_in and W_rec over that of the weights, mean over those learnt so far; None where none is known."""
        if not self._changes:
            return None
        mean_in, mean_rec = np.mean(self._changes, axis=0).tolist()
        return mean_in, mean_rec

    def score(self, words: Sequence[Sequence[Shot]], queries: Sequence[Utterance]) -> NDArray[np.float64]:
        """Score queries as listening would, every word's scores read as its calibration reads them.

        Args:
            words: the shots of each word.
            queries: utterances.

        Returns:
            [queries, words] normalised scores.
        """
        self._backend.deploy(words)
        scales = scale_deployed(self._backend, self._model, self._background)
        raw = self._backend.score([self._spikes(query) for query in queries]).astype(np.float64)
        return (raw - [scale.offset for scale in scales]) / [scale.scale for scale in scales]


class Learner:
    """A network behind the protocol of the comparison.

    Args:
        network: that learns.
        keep: what is kept of a shot; all of it when None.
    """

    def __init__(self, network: Network, keep: Callable[[Shot], Shot] | None = None) -> None:
        self._network, self._keep = network, keep

    def score(self, supports: Sequence[Sequence[Utterance]], queries: Sequence[Utterance]) -> NDArray[np.float64]:
        """Learn and score; see `alternatives.protocol.Alternative`."""
        learnt = [[shot for utterance in utterances for shot in self._network.learn(utterance)] for utterances in supports]
        words = learnt if self._keep is None else [[self._keep(shot) for shot in shots] for shots in learnt]
        return self._network.score(words, queries)


def readout_alone(shot: Shot) -> Shot:
    """Zero the changes of W_in and W_rec."""
    return shot._replace(factor=np.zeros_like(shot.factor))


def nothing(shot: Shot) -> Shot:
    """Zero all that the utterance taught; the recorded spikes stay."""
    return shot._replace(factor=np.zeros_like(shot.factor), readout=np.zeros_like(shot.readout))
