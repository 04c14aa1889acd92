"""What clips sound like to all words at once, kept so that the next word need not wait for it.

The feature population and the readout units are primed and shared (`snn.features`, `snn.readout`): what they make of a clip does not depend on the
word that is listened for. A backend that can tell the shared part from the word's own hears a clip once for all words; the scores are the same to
the last bit, because the same operations run on the same numbers.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hardware.backend import Backend


class Heard(NamedTuple):
    """The response of what all words share to Q clips of T steps, each heard from rest."""

    inputs: NDArray[np.uint8]  # [Q, T, I] the clips
    features: NDArray[np.uint8]  # [T, Q, ceil(F / 8)] spikes that arrived from the feature population, eight to a byte
    units: NDArray[np.float32]  # [T, Q, K] readout units
    norms: NDArray[np.float32]  # [T, Q] of the readout's features, by which every word's score is divided


@runtime_checkable
class HearsOnce(Backend, Protocol):
    """A backend whose shared part can be run apart from the words."""

    @property
    def arithmetic(self) -> str:
        """What the spikes of the shared part depend on besides the model: versions, instructions, threads."""

    def hear(self, clips: NDArray[np.uint8], features: NDArray[np.uint8] | None = None) -> Heard:
        """Let what all words share hear clips.

        Args:
            clips: [Q, T, I] input spikes.
            features: of an earlier call with the same clips, to be spared the feature population's run.

        Returns:
            The response. Leaves the backend reset.
        """

    def score_heard(self, heard: Heard, less: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Score clips that were heard.

        Args:
            heard: Q clips.
            less: [Q, T] taken off the running scores of all words; nothing when None.

        Returns:
            [Q, W], as `Backend.score` of the same clips. Leaves the backend reset.
        """
