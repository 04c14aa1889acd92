r"""The four choices of what priming optimises (:math:`\Theta`; Scherr & Maass, "Learning-to-learn for neuromorphic hardware"), side by side.

| theta | primed | how a word is learnt |
|---|---|---|
| rates | inner learning rates alone, of each projection or of each synapse | as `init`, from random weights and a readout that starts as decoder |
| weights | all weights | no plasticity: adaptive thresholds remember the utterance (`snn.memory`) |
| init | initial weights and rates; learned broadcast weights | e-prop (or BPTT) from the readout error (`snn.broadcast`) |
| init+lsg | initial weights, rates, learning-signal generator | natural e-prop: the generator's learning signals (`snn.lsg`) |

Where W_in and W_rec are plastic, so is the readout of the word (`snn.readout`): with `init+lsg` the generator opens its gate, otherwise the gate's
profile alone. This file is the one place that tells the schemes apart; sizes, cells and episodes are the same for all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from snn import broadcast, learner, lsg, memory, network
from snn.config import LearnerConfig
from snn.learner import Learning, Teach
from snn.populations import Weights, lsg_weights


class OnlineSignals(Protocol):
    """A source of learning signals as a device runs it."""

    kappa: float  # low-pass of the eligibility traces, per step; 0 for none

    def step(self, heard: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Turn what is heard [H] and the learning network's spikes [N] into learning signals [N] and the spiking part of the gate."""


Online = Callable[[LearnerConfig, Weights, int], OnlineSignals]
Start = Callable[[LearnerConfig, dict[str, Tensor], torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class Scheme:
    """One way to learn a word.

    Attributes:
        start: makes its weights before priming from those of natural e-prop.
        teach: its learning signals, batched; None without plasticity.
        online: the same as a device makes them, for an utterance of so many steps.
        primes: whether a tensor belongs to Theta.
        readout_first: whether priming begins with a stage in which the readout alone learns a word.
    """

    start: Start
    teach: Teach | None
    online: Online | None
    primes: Callable[[str], bool]
    readout_first: bool


def _everything(name: str) -> bool:
    return True


SCHEMES: dict[str, Scheme] = {
    "rates": Scheme(broadcast.start, broadcast.teach, broadcast.OnlineError, lambda name: name.startswith("log_rate"), readout_first=False),
    "weights": Scheme(memory.start, None, None, _everything, readout_first=False),
    "init": Scheme(broadcast.start, broadcast.teach, broadcast.OnlineError, _everything, readout_first=True),
    "init+lsg": Scheme(
        lambda config, weights, rng: weights,
        learner.natural,
        lambda config, weights, steps: lsg.OnlineLsg(lsg_weights(config, weights), weights["w_in"].dtype),
        _everything,
        readout_first=True,
    ),
}


def primed(config: LearnerConfig, name: str) -> bool:
    """Return whether priming moves a tensor of the learner."""
    fixed = name == "broadcast" and config.broadcast == "random"
    return SCHEMES[config.theta].primes(name) and not fixed


def start(config: LearnerConfig, weights: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Return the weights before priming of the configured scheme.

    Args:
        config: of the learner.
        weights: of natural e-prop, with one learning rate a projection.
        rng: of further draws.

    Returns:
        Tensors by name: those that the scheme has.
    """
    own = SCHEMES[config.theta].start(config, weights, rng)
    if config.rates == "synapse" and "log_rate_in" in own:
        own |= {f"log_rate_{kind}": own[f"log_rate_{kind}"] * torch.ones_like(own[f"w_{kind}"]) for kind in ("in", "rec")}
    return own


def online(config: LearnerConfig, weights: Weights, steps: int) -> OnlineSignals:
    """Return the source of learning signals as a device runs it, for an utterance of so many steps.

    Raises:
        ValueError: the scheme has no plasticity.
    """
    source = SCHEMES[config.theta].online
    if source is None:
        raise ValueError(f"theta '{config.theta}' learns without plasticity")
    return source(config, weights, steps)


def learn(config: LearnerConfig, weights: Weights, heard: Tensor, shots: int = 1) -> tuple[Any, Learning | None]:
    """Learn one word per task from its utterances.

    Args:
        config: of the learner.
        weights: primed.
        heard: [T, B S, H] of the utterances, the S of a word one after the other.
        shots: S, utterances of each word.

    Returns:
        What was learnt, for `respond`, and what the networks did meanwhile; None where the readout alone learns.

    Raises:
        ValueError: several shots without plasticity: there is nothing in which to average them.
    """
    teach = SCHEMES[config.theta].teach
    if teach is None:
        if shots != 1:
            raise ValueError(f"theta '{config.theta}' remembers one utterance of a word, not {shots}")
        return memory.learn(config, weights, heard)
    learnt, learning = learner.learn(config, weights, heard, teach)
    return learner.pooled(learnt, shots), learning


def respond(config: LearnerConfig, weights: Weights, learnt: Any, heard: Tensor) -> tuple[Tensor, network.Activity | None]:
    """Let every word hear every query.

    Args:
        config: of the learner.
        weights: primed.
        learnt: of B tasks, from `learn`.
        heard: [T, Q, H] of the queries.

    Returns:
        Scores [T, B, Q] at every step, and what the learning networks [T, B, Q, N] did; None where they are left out.
    """
    if SCHEMES[config.theta].teach is None:
        return memory.respond(config, weights, learnt, heard)
    return learner.respond(config, weights, learnt, heard)
