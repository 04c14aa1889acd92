"""The protocol between the program and the thing that computes: an emulator here, a board elsewhere.

The protocol is shaped so that a board can stand behind it: spikes in and scores out, whole utterances, weights loaded before a run and read after
it. A backend states what it can do; it never falls back silently to something else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from snn.config import LearnerConfig


class BackendError(ValueError):
    """A backend cannot do what was asked; the message says what and what to do instead."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do."""

    cells: tuple[str, ...]  # neuron cells it can run
    plasticity: str  # where learning happens, in words for the user
    live_input: bool  # can hear a stream, state carried over, rather than whole utterances only


Less = Sequence[NDArray[np.float32]] | None  # for each clip [T], what is taken off the running scores of all words; nothing when None


class Shot(NamedTuple):
    """What one utterance taught, small enough to keep: the factors of the weight changes rather than the matrices.

    The changes are -eta_in factor^T (h - c) and -eta_rec factor^T recurrent, with h = (inputs, features) and the model's learning rates and centre c.
    A word whose utterance was forgotten has whole numbers, int8, in place of spikes (`app.forgetting`).
    """

    factor: NDArray[np.float32]  # [T, N] e-prop factors
    inputs: NDArray[np.uint8]  # [T, I] input spikes
    features: NDArray[np.uint8]  # [T, F] spikes that arrived from the feature population
    recurrent: NDArray[np.uint8]  # [T, N] spikes that arrived over the recurrent connections
    readout: NDArray[np.float32]  # [D K] readout weights, norm 1


class Trace(NamedTuple):
    """What a network did while it learnt or listened, for a figure."""

    inputs: NDArray[np.uint8]  # [T, I]
    network: NDArray[np.uint8]  # [T, N] of the learning network
    signals: NDArray[np.float32]  # [T, N] learning signals; zeros while listening
    scores: NDArray[np.float32]  # [T] running score of the word; empty while learning


class Backend(Protocol):
    """Something that runs a primed network, learns words, and recognises them."""

    name: str
    capabilities: Capabilities

    def load(self, config: "LearnerConfig", weights: Mapping[str, "Tensor"]) -> None:
        """Load a primed network; forgets deployed words.

        Raises:
            BackendError: the backend lacks this cell or this size.
        """

    def learn(self, spikes: NDArray[np.uint8]) -> Shot:
        """Learn from one utterance by online e-prop, from the primed weights.

        Args:
            spikes: [T, I] of the whole utterance.

        Returns:
            What it taught. Deployed words are not touched.

        Raises:
            BackendError: no network is loaded, the utterance is empty or too long, or learning left the finite numbers.
        """

    def deploy(self, words: Sequence[Sequence[Shot]]) -> None:
        """Run one network per word from now on, from rest.

        Args:
            words: the shots of each word; their weight changes are averaged.
        """

    def reset(self) -> None:
        """Put every network to rest."""

    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Hear the next steps of a stream.

        Args:
            spikes: [T, I]; any T, state carries over between calls, and how a stream is cut changes nothing.

        Returns:
            [T, W] score of every deployed word after each step.
        """

    def score(self, clips: Sequence[NDArray[np.uint8]], less: Less = None) -> NDArray[np.float32]:
        """Score whole clips, each heard from rest.

        Args:
            clips: spikes [T, I] of each, T may differ.
            less: for each [T], what is taken off the running scores of all words; nothing when None.

        Returns:
            [clips, W] the largest score of each word over the steps of the clip. Leaves the backend reset.
        """


def taken_off(less: Less, index: Sequence[int]) -> NDArray[np.float32]:
    """Return what is taken off the running scores of some clips of one length: [T, Q], or zeros [1, 1] where nothing is."""
    return np.zeros((1, 1), np.float32) if less is None else np.stack([less[k] for k in index], 1)


def check_scheme(name: str, config: "LearnerConfig", runs: Sequence[str] = ("init+lsg",)) -> None:
    """Check that a backend can run what a model was primed for.

    Args:
        name: of the backend.
        config: of the model's learner.
        runs: the choices of theta (`snn.schemes`) that it can run.

    Raises:
        BackendError: the model learns words in another way.
    """
    if config.theta not in runs:
        known = ", ".join(runs)
        raise BackendError(f"this model was primed with theta '{config.theta}' and the backend '{name}' runs {known}: take another backend or model")


def _torch() -> Backend:
    from hardware.torch_backend import TorchBackend

    return TorchBackend()


def _fixed() -> Backend:
    from hardware.fixed.backend import FixedBackend

    return FixedBackend()


def _nest() -> Backend:
    from hardware.nest.backend import NestBackend

    return NestBackend()


def _spinnaker() -> Backend:
    from hardware.spinnaker.backend import SpinnakerBackend

    return SpinnakerBackend()


BACKENDS: dict[str, Callable[[], Backend]] = {"fixed": _fixed, "nest": _nest, "spinnaker": _spinnaker, "torch": _torch}


def open_backend(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        BackendError: there is none.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend is called '{name}'; choose one of: {', '.join(sorted(BACKENDS))}")
    return BACKENDS[name]()
