"""What every outer optimiser has in common: the weights, how far the run is, its checkpoint and its record of validations."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priming import checkpoint, objective
from priming.config import PrimeConfig
from priming.distributed import Ranks
from priming.errors import ModelError
from priming.workspace import Workspace
from snn import schemes
from snn.config import LearnerConfig
from snn.initialise import initial_weights

# may differ between a run and its continuation
NOT_RESUMED = {"data", "out", "cache", "cell", "checkpoint_s", "validations", "validation_episodes", "prefetch"}


@dataclass(frozen=True)
class StepReport:
    """What a step tells whoever watches."""

    step: int
    progress: float  # share of the budget that is spent, 0-1
    elapsed_s: float
    loss: float
    accuracy: float  # of the task's known queries
    words: int  # learnt in this step
    figures: dict[str, float]  # for the log


Watch = Callable[[StepReport], None]


@dataclass(frozen=True)
class Validation:
    """Figures on validation words after a step."""

    step: int
    progress: float  # share of the budget that was spent
    last_stage: bool  # W_in and W_rec were as plastic as they will be
    figures: dict[str, dict[str, Any]]  # of each set, as of `Summary.figures`

    @property
    def merit(self) -> float:
        """The figure by which steps are chosen: AUROC of pairs, mean over the sets."""
        return float(sum(each["auroc_pairs"] for each in self.figures.values())) / len(self.figures)


def best_of(history: list[Validation]) -> Validation | None:
    """Return the best validation of the last stage; the first of equals, None before there is one."""
    return max((each for each in history if each.last_stage), key=lambda each: each.merit, default=None)


def stalled(history: list[Validation], patience: int | None) -> bool:
    """Return whether the last `patience` validations brought nothing better than an earlier one of the last stage; never when None."""
    best = best_of(history)
    return patience is not None and best is not None and len(history) - 1 - history.index(best) >= patience


class Loop(ABC):
    """State of a priming run; `advance` does one outer step.

    Args:
        config: of the run.
        learner_config: of the network.
        workspace: encoded clips and samplers.
        primed: weights of a finished model to go on from; those before priming when None.
        origin: its fingerprint.
        ranks: this process among those of the run; alone when None.
    """

    def __init__(
        self,
        config: PrimeConfig,
        learner_config: LearnerConfig,
        workspace: Workspace,
        primed: dict[str, Tensor] | None = None,
        origin: str | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.config, self.learner, self.workspace, self._origin = config, learner_config, workspace, origin
        self.ranks = ranks or Ranks()
        if primed is None:
            primed = initial_weights(learner_config, workspace.input_rate(), config.seed, torch.from_numpy(workspace.encoder.decoder()))
        start = primed | objective.initial_scalars()
        self.weights = {name: tensor.detach().clone().to(config.device) for name, tensor in start.items()}
        self._begun = primed
        self.step = 0
        self.elapsed_s = 0.0
        self.whole = True  # False while a step is changing the state, which must not be saved then
        self.history: list[Validation] = []

    @abstractmethod
    def advance(self) -> StepReport:
        """Do one outer step.

        Raises:
            ModelError: the loss is not a number; the last checkpoint is untouched by it.
        """

    @abstractmethod
    def moments(self) -> dict[str, Tensor]:
        """Return the optimiser's state as named tensors."""

    @abstractmethod
    def restore_moments(self, tensors: dict[str, Tensor]) -> None:
        """Put the optimiser's state back."""

    @property
    def theta(self) -> dict[str, Tensor]:
        """What is optimised: the tensors that the scheme primes, and the objective's own scalars."""
        return {name: tensor for name, tensor in self.weights.items() if name.startswith("objective.") or schemes.primed(self.learner, name)}

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        if self.config.steps is not None:
            return min(1.0, self.step / self.config.steps) if self.config.steps else 1.0
        assert self.config.minutes is not None
        return min(1.0, self.elapsed_s / (60 * self.config.minutes))

    @property
    def readout_share(self) -> float:
        """First share of the budget, in which the readout alone learns: all without plasticity, nothing where the scheme has no such stage."""
        if not self.learner.plastic:
            return 1.0
        return self.config.readout_share if schemes.SCHEMES[self.learner.theta].readout_first else 0.0

    @property
    def validation_due(self) -> bool:
        """Whether so much of the budget is spent since the last validation that the next is due."""
        validations = self.config.validations if self.workspace.validation else 0
        last = self.history[-1].progress if self.history else 0.0
        return math.floor(self.progress * validations) > math.floor(last * validations)

    def validated(self, figures: dict[str, dict[str, Any]]) -> Validation:
        """Record figures on validation words after the present step, of each set as of `Summary.figures`."""
        last_stage = self.readout_share in (1.0, 0.0) or self.progress > self.readout_share
        self.history.append(Validation(self.step, self.progress, last_stage, figures))
        return self.history[-1]

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            ModelError: no checkpoint, a damaged one, or one of another configuration or version.
        """
        state = checkpoint.load_checkpoint(path)
        if state.configuration != self.configuration():
            raise ModelError(f"{path} belongs to a run with another configuration: repeat its options, or start again without --resume")
        self.take(state, path)
        self._continue(state)

    def align(self) -> None:
        """Start every rank from the leader's state.

        Raises:
            ModelError: another process of the run is gone.
        """
        content = self.ranks.bytes_of_leader(checkpoint.to_bytes(self._snapshot()) if self.ranks.size > 1 else b"")
        if not self.ranks.leads:
            state = checkpoint.from_bytes(content)
            for name, tensor in state.weights.items():
                self.weights[name].data.copy_(tensor)
            self._continue(state)

    def _continue(self, state: checkpoint.Checkpoint) -> None:
        self.restore_moments(state.optimizer)
        self.step, self.elapsed_s = state.step, state.elapsed_s
        self.history = [Validation(**each) for each in state.history]

    def take(self, state: checkpoint.Checkpoint, path: Path) -> None:
        """Take over the weights of a checkpoint, and nothing else.

        Raises:
            ModelError: the checkpoint is another version's.
        """
        if {name: tensor.shape for name, tensor in state.weights.items()} != {name: tensor.shape for name, tensor in self.weights.items()}:
            raise ModelError(f"{path} was written by another version of this program: start again without --resume")
        for name, tensor in state.weights.items():
            self.weights[name].data.copy_(tensor)

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        checkpoint.save_checkpoint(path, self._snapshot())

    def _snapshot(self) -> checkpoint.Checkpoint:
        history = [asdict(each) for each in self.history]
        return checkpoint.Checkpoint(self.step, self.elapsed_s, self.weights, self.moments(), self.configuration(), history)

    def configuration(self) -> str:
        """Return as JSON what must be the same when the run is resumed."""
        chosen = self.config.model_dump(mode="json", exclude=NOT_RESUMED)
        return json.dumps(chosen | {"learner": self.learner.model_dump(mode="json"), "origin": self._origin}, sort_keys=True)

    def learner_weights(self) -> dict[str, Tensor]:
        """Return the weights that a device needs, without the objective's own."""
        return {name: tensor.detach().cpu() for name, tensor in self.weights.items() if not name.startswith("objective.")}

    def finished_weights(self) -> dict[str, Tensor]:
        """Return what a device needs after the run: on the way back from the primed weights to those that it started from by the initial share."""
        share = self.config.initial_share
        return {name: torch.lerp(tensor, self._begun[name], share) for name, tensor in self.learner_weights().items()}

    def check_finite(self, value: float, what: str) -> None:
        """Stop the run at a number that is none.

        Raises:
            ModelError: it is not finite.
        """
        if not math.isfinite(value):
            raise ModelError(f"the {what} is not a number at step {self.step}: start again with another --seed; the last checkpoint is kept")
