r"""The outer loop of learning to learn: back-propagation through time moves the weights of a network that itself learns without changing any.

Most teachers answer close to 0 or 1 nearly everywhere, where the derivative of a squared error vanishes with that of :math:`\sigma`. So the outer
loop moves the weights down the gradient of the cross-entropy, whose minimum is the same,

.. math:: E = -\frac1{PB} \sum_{p,b} C_b(x_{b,p}) \ln \hat y_{b,p} + (1 - C_b(x_{b,p})) \ln(1 - \hat y_{b,p})

and begins with short episodes, of which many fit in a minute. The learning rate falls in three cosine cycles, with restarts (Loshchilov and Hutter
2017); firing rates are held near 20 Hz in the first and nearly free afterwards. The weights of an input neuron and of its neighbours begin alike,
so that a neuron's response changes with x no faster than a teacher does.
"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from snn import network, readout
from snn.cells.alif import AlifParams
from snn.regulariser import rate_loss

from .functions import HOLD, POINTS, READ, STEP_MS, TUNED, Episode, draw, linear_errors

NEURONS, ADAPTIVE = 300, 180
BATCH = 32
LENGTHS = ((0.75, 30), (0.9, 60), (1.1, POINTS))  # points of an episode until a share of a cycle is done
ALPHA, RHO = math.exp(-STEP_MS / 20.0), (math.exp(-STEP_MS / 100.0), math.exp(-STEP_MS / 1500.0))  # decays a step; the range of the adaptation's
BETA = 0.2
KAPPA = 0.5  # of the readout
ALIKE = 12.0  # width, in input neurons, of what begins alike
INPUT_SCALE, ANSWER_SCALE, RECURRENT_SCALE = 1.73, 3.0, 0.5  # the answer is heard for half as long and weighs more
TARGET_RATE = 0.1  # spikes a step
WARM_UP, FINAL_RATE = 50, 0.05  # iterations; of the largest rate, at the end of a cycle
CHECK_EVERY, CHECKED, JUDGED = 200, 128, 1024  # iterations, episodes, episodes


class Cycle(NamedTuple):
    """A part of the outer loop, over which the learning rate falls like a cosine."""

    iterations: int
    rate: float  # the largest
    rate_weight: float  # of the firing rates' distance to their target


CYCLES = (Cycle(6_000, 5e-3, 0.01), Cycle(12_000, 3e-3, 0.001), Cycle(8_000, 2e-3, 0.001))


class Check(NamedTuple):
    """Errors on new episodes."""

    iteration: float
    error: float  # over the second half of the points
    linear: float  # of the best linear approximations there
    constant: float  # of the teachers' own means there


class Run(NamedTuple):
    """How a network learnt to learn."""

    checks: list[tuple[float, ...]]  # as in `Check`
    curve: Tensor  # [P] error by point
    linear: Tensor  # [P] of the best linear approximations
    example: Tensor  # [2, P, 4] answers of four teachers and of the network
    seconds: float  # processor time


class Learner:
    """The network whose weights the outer loop moves.

    Args:
        seed: of the initial weights.
    """

    def __init__(self, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        channel = torch.arange(TUNED, dtype=torch.float32)
        alike = torch.exp(-0.5 * ((channel - channel.unsqueeze(1)) / ALIKE).square())
        w_in = torch.randn(NEURONS, 3, TUNED, generator=rng) @ alike
        w_in *= INPUT_SCALE / w_in.square().sum((1, 2)).mean().sqrt()
        w_in[:, 2] *= ANSWER_SCALE
        self.w_in = w_in.flatten(1)
        self.w_rec = RECURRENT_SCALE * torch.randn(NEURONS, NEURONS, generator=rng) / math.sqrt(NEURONS)
        self.w_out = torch.randn(NEURONS, generator=rng) / math.sqrt(NEURONS)
        self.bias, self.offset = torch.full((NEURONS,), 0.1), torch.zeros(())
        for weights in self.weights.values():
            weights.requires_grad_()
        self._off_diagonal = 1.0 - torch.eye(NEURONS)
        beta = torch.zeros(NEURONS)
        beta[NEURONS - ADAPTIVE :] = BETA
        low, high = (math.log(1 - rho) for rho in RHO)
        rho = 1 - torch.exp(low + (high - low) * torch.rand(NEURONS, generator=rng))
        self._params = AlifParams(torch.full((NEURONS,), ALPHA), rho, beta)

    @property
    def weights(self) -> dict[str, Tensor]:
        """What the outer loop moves."""
        return {name: getattr(self, name) for name in ("w_in", "w_rec", "w_out", "bias", "offset")}

    def answer(self, episode: Episode) -> tuple[Tensor, Tensor]:
        """Return the logits of the network's answers [P, B], read while each point is heard, and its spikes."""
        current = network.project(episode.x, self.w_in) + self.bias
        z = network.run(current, self.w_rec * self._off_diagonal, self._params).z
        filtered = readout.low_pass(z @ self.w_out, KAPPA)
        return 4 * filtered[READ::HOLD] + self.offset, z


def check(learner: Learner, iteration: int, rng: torch.Generator, batch: int, points: int = POINTS) -> tuple[Check, Tensor, Tensor, Tensor]:
    """Measure on new episodes.

    Returns:
        The errors of the second half, those of the network and of the linear approximations by point, and the answers in the first 4 episodes.
    """
    with torch.no_grad():
        episode = draw(batch, rng, points)
        answers = learner.answer(episode)[0].sigmoid()
    errors, linear = (answers - episode.answers).square(), linear_errors(episode)
    half = points // 2
    constant = (episode.answers[half:] - episode.answers.mean(0)).square()
    figures = Check(iteration, float(errors[half:].mean()), float(linear[half:].mean()), float(constant.mean()))
    return figures, errors.mean(1), linear.mean(1), torch.stack([episode.answers[:, :4], answers[:, :4]])


def length(done: float) -> int:
    """Return how many points an episode has when a share of a cycle is done."""
    return next(points for until, points in LENGTHS if done < until)


class OuterLoop:
    """The outer loop, which can stop and go on, to the bit.

    Args:
        seed: of weights, teachers and points.
        cycles: one after the other.
        batch: episodes of an iteration.
    """

    def __init__(self, seed: int, cycles: tuple[Cycle, ...] = CYCLES, batch: int = BATCH) -> None:
        self._cycles, self._batch = cycles, batch
        self._iterations = sum(cycle.iterations for cycle in cycles)
        self._seed, self._rng = seed, torch.Generator().manual_seed(seed)
        self.learner = Learner(seed)
        self._optimiser = torch.optim.Adam(self.learner.weights.values(), lr=cycles[0].rate)
        self._done, self._seconds = 0, 0.0
        self._checks: list[tuple[float, ...]] = []

    def state(self) -> dict[str, Any]:
        """Return all that changes."""
        weights = {name: tensor.detach() for name, tensor in self.learner.weights.items()}
        counts = {"done": self._done, "seconds": self._seconds, "checks": self._checks}
        return {"weights": weights, "optimiser": self._optimiser.state_dict(), "rng": self._rng.get_state(), **counts}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken, in an outer loop of the same seed and batch, and of these cycles or more.

        Raises:
            ValueError: the state is from beyond the last of these cycles.
        """
        if state["done"] > self._iterations:
            raise ValueError(f"a network after {state['done']} iterations cannot go on in cycles of {self._iterations}; take another folder")
        with torch.no_grad():
            for name, tensor in self.learner.weights.items():
                tensor.copy_(state["weights"][name])
        self._optimiser.load_state_dict(state["optimiser"])
        self._rng.set_state(state["rng"])
        self._done, self._seconds, self._checks = state["done"], state["seconds"], list(state["checks"])

    def _place(self) -> tuple[Cycle, float]:
        """Return the present cycle, and how much of it is done, from 0 to less than 1."""
        begin = 0
        for cycle in self._cycles:
            if self._done < begin + cycle.iterations:
                break
            begin += cycle.iterations
        return cycle, (self._done - begin) / cycle.iterations

    def step(self) -> float:
        """Move the weights once; return the loss."""
        cycle, done = self._place()
        warm = min(1.0, (self._done + 1) / WARM_UP)
        self._optimiser.param_groups[0]["lr"] = cycle.rate * warm * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done)))
        episode = draw(self._batch, self._rng, length(done))
        logits, z = self.learner.answer(episode)
        loss = binary_cross_entropy_with_logits(logits, episode.answers) + cycle.rate_weight * NEURONS * rate_loss(z, TARGET_RATE)
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learner.weights.values(), 1.0)
        self._optimiser.step()
        self._done += 1
        return float(loss.detach())

    def _unheard(self, kind: int) -> torch.Generator:
        """Return a source of episodes that nothing is learnt from: the same ones at every check of a kind, so that checks compare."""
        return torch.Generator().manual_seed(self._seed + kind * 1_000_000)

    def run(self, minutes: float, watch: Callable[[Check], None] | None = None, judged: int = JUDGED) -> Run | None:
        """Run for some minutes of processor time, or to the end.

        Args:
            minutes: after which to stop.
            watch: called with every check.
            judged: episodes of the last check.

        Returns:
            What came out; None if it did not come to the end.
        """
        begun, before = time.process_time(), self._seconds
        while self._done < self._iterations:
            self.step()
            self._seconds = before + time.process_time() - begun
            if self._done % CHECK_EVERY == 0:
                found = check(self.learner, self._done, self._unheard(1), CHECKED)[0]
                self._checks.append(tuple(found))
                if watch is not None:
                    watch(found)
            if self._seconds - before > 60 * minutes and self._done < self._iterations:
                return None
        last, curve, linear, example = check(self.learner, self._done, self._unheard(2), judged)
        return Run([*self._checks, tuple(last)], curve, linear, example, self._seconds)
