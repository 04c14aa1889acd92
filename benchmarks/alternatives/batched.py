"""Schemes that no device runs, behind the parts of the backend protocol that the comparison uses: the form that priming differentiates.

A shot is the spikes of its utterance alone; the word is learnt anew whenever it is deployed, from one utterance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.backend import BackendError, Capabilities, Less, Shot, taken_off
from snn import features, schemes
from snn.config import LearnerConfig


class BatchedBackend:
    """Learns and scores as `snn.schemes` does; whole utterances only."""

    name = "batched"
    capabilities = Capabilities(cells=("lif", "alif", "adlif", "board"), plasticity="none, or back-propagation through time", live_input=False)

    def load(self, config: LearnerConfig, weights: Mapping[str, Tensor]) -> None:
        """Load a primed network."""
        self._config, self._weights = config, weights
        self._words: list[Any] = []

    def _hear(self, clips: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Hear clips of one length: h [T, clips, H]."""
        return features.hear(self._config, self._weights, torch.from_numpy(np.stack(clips, 1).astype(np.float32)))[0]

    def learn(self, spikes: NDArray[np.uint8]) -> Shot:
        """Keep an utterance [T, I]."""
        none = np.zeros((len(spikes), 0), np.float32)
        return Shot(none, spikes, none.astype(np.uint8), none.astype(np.uint8), none[0])

    @torch.no_grad()
    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        """Learn one utterance of each word.

        Raises:
            BackendError: several utterances of a word.
        """
        if any(len(shots) != 1 for shots in words):
            raise BackendError("a scheme that no device runs learns from one utterance a word here: ask for --shots 1")
        self._words = [schemes.learn(self._config, self._weights, self._hear([shots[0].inputs]))[0] for shots in words]

    @torch.no_grad()
    def score(self, clips: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float32]:
        """Score whole clips [T, I]: [clips, words], the largest score over the steps of each, less [T] taken off."""
        out = np.zeros((len(clips), len(self._words)), np.float32)
        for length in sorted({len(clip) for clip in clips}):
            index = [k for k, clip in enumerate(clips) if len(clip) == length]
            heard = self._hear([clips[k] for k in index])
            for w, learnt in enumerate(self._words):
                running = schemes.respond(self._config, self._weights, learnt, heard)[0][:, 0].numpy()  # [T, clips]
                out[index, w] = (running - taken_off(less, index)).max(0)
        return out
