r"""Evolution strategies as the outer optimiser: priming without a gradient, through whatever runs the network.

A backend is a black box: candidates :math:`\Theta_k` are loaded into it, learn the words of a few tasks by the backend's own e-prop, and are judged
by the objective of `priming.objective` on the scores that come back. So a device, or an emulator of its arithmetic, can stand inside the outer loop.
Candidates are drawn in pairs around a centre and ranked (policy gradients with parameter-based exploration; Sehnke et al. 2010, with the centred
ranks of Salimans et al. 2017):

.. math::
    \Theta_{\pm k} = \mu \pm \sigma \odot \epsilon_k, \qquad \mu \leftarrow \mathrm{Adam}\big(\nabla_\mu\, \mathbb{E}[\mathrm{rank}\, E(\Theta)]\big),
    \qquad \sigma \leftarrow \sigma + \eta_\sigma \nabla_\sigma\, \mathbb{E}[\mathrm{rank}\, E(\Theta)]

as EvoTorch computes it (its functional form: the whole state is a few tensors, so that a run is resumed bit for bit). Every tensor is searched in
units of its own root mean square at the start, logarithms in units of 1. All candidates of a step solve the same tasks.

The number of evaluations that a search needs grows with the number of parameters: two inner learning rates are found in a few dozen steps; all
weights of a network are moved a little, from where back-propagation left them.
"""

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hardware.backend import BackendError, open_backend
from priming import objective
from priming.errors import DataError, ModelError
from priming.loop import Loop, StepReport
from priming.sampler import Task

if TYPE_CHECKING:
    from evotorch.algorithms.functional.funcpgpe import PGPEState

SPREAD_RATE = 0.1  # eta_sigma
FAINTEST = 0.1  # unit of a tensor that is zero at the start


class EvolutionLoop(Loop):
    """A priming run by evolution strategies; see `priming.loop.Loop`.

    Raises:
        BackendError: the backend does not exist, or cannot run this network.
        DataError: EvoTorch is not installed, or no tensor has a name as asked for.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        evolve = self.config.evolve
        self._origins = {name: tensor.clone() for name, tensor in self.theta.items() if not evolve or name.startswith((*evolve, "objective."))}
        if all(name.startswith("objective.") for name in self._origins):
            raise DataError(f"no tensor that is primed has a name that begins with {' or '.join(evolve)}: see docs/priming.md for their names")
        self._units = {name: _unit(name, tensor) for name, tensor in self._origins.items()}
        self._algorithm = _evotorch()
        centre = torch.zeros(sum(tensor.numel() for tensor in self._origins.values()))
        self._state: PGPEState = self._algorithm.pgpe(
            center_init=centre,
            center_learning_rate=self.config.evolution_rate,
            stdev_learning_rate=SPREAD_RATE,
            stdev_init=self.config.spread,
            objective_sense="min",
            ranking_method="centered",
            optimizer="adam",
        )
        self._backend = open_backend(self.config.backend)
        self._backend.load(self.learner, self.learner_weights())

    def moments(self) -> dict[str, Tensor]:
        """Return the search distribution."""
        adam = self._state.optimizer_state
        return {"evolution.stdev": self._state.stdev} | {f"evolution.{name}": getattr(adam, name) for name in ("center", "m", "v", "t")}

    def restore_moments(self, tensors: dict[str, Tensor]) -> None:
        """Put the search distribution back."""
        found = {name.removeprefix("evolution."): tensor.clone() for name, tensor in tensors.items()}
        stdev = found.pop("stdev")
        self._state = self._state._replace(stdev=stdev, optimizer_state=self._state.optimizer_state._replace(**found))

    def advance(self) -> StepReport:
        """Judge one population and move the centre.

        Raises:
            ModelError: no candidate could learn; the last checkpoint is untouched by it.
        """
        config, started = self.config, time.monotonic()
        ways, first = config.eprop_ways, self.step * config.population_tasks
        unknown = round(config.unknown_share * ways)
        tasks = [self.workspace.sampler.draw(first + k, ways, config.queries, unknown, config.shots) for k in range(config.population_tasks)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1_000_003 + self.step)
            population = self._algorithm.pgpe_ask(self._state, popsize=config.population)
        judged = torch.zeros(len(population), 2, dtype=torch.float64)  # loss and accuracy of each candidate
        for k in self.ranks.share(len(population)):
            judged[k] = torch.tensor(self._judge(self._named(population[k]), tasks), dtype=torch.float64)
        self.ranks.add([judged])
        losses = judged[:, 0].float()
        learnt = torch.isfinite(losses)
        if not bool(learnt.any()):
            raise ModelError(f"no candidate of step {self.step} could learn: start again with a smaller --set spread; the last checkpoint is kept")
        self.whole = False
        self._state = self._algorithm.pgpe_tell(self._state, population, losses)
        for name, tensor in self._named(self._state.optimizer_state.center).items():
            self.weights[name] = tensor
        self.step += 1
        self.elapsed_s = self.ranks.of_leader(self.elapsed_s + time.monotonic() - started)
        self.whole = True
        loss, correct = judged[learnt].mean(0).tolist()
        words = len(population) * sum(len(task.support) for task in tasks)
        figures = {"best loss": float(losses.min()), "spread": float(self._state.stdev.mean()), "lost candidates": float((~learnt).sum())}
        figures |= {name: float(self.weights[name].mean()) for name in ("log_rate_in", "log_rate_rec")}
        return StepReport(self.step, self.progress, self.elapsed_s, loss, correct, words, figures)

    def _named(self, point: Tensor) -> dict[str, Tensor]:
        """Turn a point of the search space into tensors."""
        parts = point.split([tensor.numel() for tensor in self._origins.values()])
        return {
            name: origin + self._units[name] * part.reshape(origin.shape) for part, (name, origin) in zip(parts, self._origins.items(), strict=True)
        }

    def _judge(self, candidate: dict[str, Tensor], tasks: list[Task]) -> tuple[float, float]:
        """Return the mean loss and accuracy of a candidate over tasks; a loss beyond all others where its learning leaves the finite numbers."""
        weights = self.weights | candidate
        found = []
        try:
            self._backend.load(self.learner, {name: tensor for name, tensor in weights.items() if not name.startswith("objective.")})
            for task in tasks:
                support = self.workspace.features.take_support(task.support.ravel(), task.support_copies.ravel())
                queries = list(self.workspace.features.take(task.queries, task.query_copies))
                shots = iter([self._backend.learn(spikes) for spikes in support])
                self._backend.deploy([[next(shots) for _ in own] for own in task.support])
                scores, labels = torch.from_numpy(self._backend.score(queries)), torch.from_numpy(task.labels)
                found.append((float(objective.decision_loss(scores, labels, weights)), objective.accuracy(scores, labels)))
        except BackendError:
            return float("inf"), 0.0
        loss, correct = np.mean(found, axis=0).tolist()
        return (loss if np.isfinite(loss) else float("inf")), correct


def _unit(name: str, tensor: Tensor) -> float:
    """Return the scale on which a tensor is searched; logarithms have one of their own."""
    return 1.0 if name.startswith("log_") or ".log_" in name else float(tensor.square().mean().sqrt()) or FAINTEST


def _evotorch() -> Any:
    """Import the library, whose import warns of what other libraries have deprecated.

    Raises:
        DataError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from evotorch.algorithms import functional
    except ImportError as error:
        raise DataError("the optimizer es needs EvoTorch: pip install 'sayonce[evolution]'") from error
    return functional
