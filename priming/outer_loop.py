r"""The outer loop: Adam on the weights from which a device learns, by back-propagation through the inner e-prop update.

.. math::
    \Theta \leftarrow \Theta - \mathrm{Adam}\left(\nabla_\Theta\, E\big(\text{queries};\ \Theta + \Delta W(\text{support}; \Theta)\big)\right)

:math:`\Theta` holds the feature population, the initial weights of the learning network, the learning-signal generator, the inner learning rates and
what the readout has primed (option 4 of Scherr & Maass, "natural e-prop"). The inner update is the factorised e-prop of `snn.eprop`, so the gradient
passes through every learning signal and every eligibility trace. A run has two stages: first only the readout learns a word, so that tasks of many
words are cheap and the shared part is primed; then the learning network and its generator join, W_in and W_rec plastic, one network a word.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from priming import checkpoint, objective
from priming.config import PrimeConfig
from priming.errors import DataError, ModelError
from priming.sampler import Task
from priming.workspace import Workspace, open_workspace
from snn import features, learner
from snn.config import LearnerConfig
from snn.initialise import initial_weights
from snn.regulariser import rate_loss

# Scalars, time constants and the salience take larger steps: their gradients are of another scale.
SLOW = ("objective.", "log_tau", "feature.log_tau", "lsg.log_tau", "readout.salience")
SLOW_FACTOR = 3.0
SHARED = ("feature.", "readout.", "center", "objective.", "lsg.profile")  # the rest belongs to the learning network and its generator
WARM_UP_STEPS = 50
FINAL_RATE = 0.03  # of the largest, at the end of a stage


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


class OuterLoop:
    """State and step of a priming run.

    Args:
        config: of the run.
        learner_config: of the network.
        workspace: encoded clips and samplers.
    """

    def __init__(self, config: PrimeConfig, learner_config: LearnerConfig, workspace: Workspace) -> None:
        self.config, self.learner, self.workspace = config, learner_config, workspace
        decoder = torch.from_numpy(workspace.encoder.decoder())
        start = initial_weights(learner_config, workspace.input_rate(), config.seed, decoder) | objective.initial_scalars()
        self.weights = {name: tensor.to(config.device).requires_grad_() for name, tensor in start.items()}
        self.optimizer = torch.optim.Adam([{"params": tensors, "kind": kind} for kind, tensors in self._groups().items()])
        self.step = 0
        self.elapsed_s = 0.0
        self.whole = True  # False while a step is changing the state, which must not be saved then

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        if self.config.steps is not None:
            return min(1.0, self.step / self.config.steps)
        assert self.config.minutes is not None
        return min(1.0, self.elapsed_s / (60 * self.config.minutes))

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            ModelError: no checkpoint, a damaged one, or one of another configuration or version.
        """
        state = checkpoint.load_checkpoint(path)
        if state.configuration != self._configuration():
            raise ModelError(f"{path} belongs to a run with another configuration: repeat its options, or start again without --resume")
        if {name: tensor.shape for name, tensor in state.weights.items()} != {name: tensor.shape for name, tensor in self.weights.items()}:
            raise ModelError(f"{path} was written by another version of this program: start again without --resume")
        for name, tensor in state.weights.items():
            self.weights[name].data.copy_(tensor)
        checkpoint.restore_optimizer(self.optimizer, self.weights, state.optimizer)
        self.step, self.elapsed_s = state.step, state.elapsed_s

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        moments = checkpoint.optimizer_tensors(self.optimizer, self.weights)
        checkpoint.save_checkpoint(path, checkpoint.Checkpoint(self.step, self.elapsed_s, self.weights, moments, self._configuration()))

    def _configuration(self) -> str:
        chosen = self.config.model_dump(mode="json", exclude={"data", "out", "cache", "checkpoint_s", "validations", "validation_episodes"})
        return json.dumps(chosen | {"learner": self.learner.model_dump(mode="json")}, sort_keys=True)

    def _spikes(self, clips: np.ndarray, copies: np.ndarray, generator: torch.Generator) -> Tensor:
        spikes = torch.from_numpy(self.workspace.features.take(clips, copies)).to(torch.float32).transpose(0, 1)  # [T, n, I]
        kept = torch.rand(1, spikes.shape[1], spikes.shape[2], generator=generator) >= self.config.input_dropout
        return (spikes * kept).to(self.config.device)

    def advance(self) -> StepReport:
        """Do one outer step.

        Raises:
            ModelError: the loss or its gradient is not a number; weights and last checkpoint are untouched by it.
        """
        config, started = self.config, time.monotonic()
        eprop_stage = self.learner.plastic and self.progress >= config.readout_share
        ways = config.eprop_ways if eprop_stage else config.readout_ways
        task = self.workspace.sampler.draw(self.step, ways, config.queries, round(config.unknown_share * ways))
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        loss, scores, labels, figures = self._task_loss(task, eprop_stage, generator)
        if not math.isfinite(float(loss.detach())):
            raise ModelError(f"the loss is not a number at step {self.step}: start again with another --seed; the last checkpoint is kept")
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(group["kind"], eprop_stage)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), config.clip_gradient)
        if not math.isfinite(float(norm)):
            raise ModelError(f"the gradient is not a number at step {self.step}: start again with another --seed; the last checkpoint is kept")
        self.whole = False
        self.optimizer.step()
        self.step += 1
        self.elapsed_s += time.monotonic() - started
        self.whole = True
        figures |= {"gradient norm": float(norm), "rate": self._rate("shared", eprop_stage), "stage": float(eprop_stage)}
        correct = objective.accuracy(scores.detach(), labels)
        return StepReport(self.step, self.progress, self.elapsed_s, float(loss.detach()), correct, len(task.support), figures)

    def _groups(self) -> dict[str, list[Tensor]]:
        """Sort the weights by how fast they are moved."""
        groups: dict[str, list[Tensor]] = {"shared": [], "slow": [], "learning": []}
        for name, tensor in self.weights.items():
            groups["slow" if name.startswith(SLOW) else "shared" if name.startswith(SHARED) else "learning"].append(tensor)
        return groups

    def _rate(self, kind: str, eprop_stage: bool) -> float:
        """Fall along half a cosine within each stage; the second starts high again, as what it moves has not moved yet."""
        share = self.config.readout_share if self.learner.plastic else 1.0
        within = (self.progress - share) / (1 - share) if eprop_stage else self.progress / share
        shared = self.config.eprop_rate if eprop_stage else self.config.rate
        largest = {"shared": shared, "slow": SLOW_FACTOR * shared, "learning": self.config.learning_rate}[kind]
        return min(1.0, (self.step + 1) / WARM_UP_STEPS) * largest * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * within)))

    def _task_loss(self, task: Task, eprop_stage: bool, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, dict[str, float]]:
        plastic = self.learner.model_copy(update={"plastic": eprop_stage})
        clips, copies = np.concatenate([task.support, task.queries]), np.concatenate([task.support_copies, task.query_copies])
        heard, population = features.hear(plastic, self.weights, self._spikes(clips, copies, generator))
        words = len(task.support)
        learnt, learning = learner.learn(plastic, self.weights, heard[:, :words])
        running, response = learner.respond(plastic, self.weights, learnt, heard[:, words:])
        scores = running.amax(0).T  # [Q, B]
        labels = torch.from_numpy(task.labels).to(scores.device)
        decision = objective.decision_loss(scores, labels, self.weights)
        target = self.config.target_rate
        rates = rate_loss(population.z, target)
        figures = {"decision loss": float(decision.detach()), "feature rate": float(population.z.detach().mean())}
        if learning is not None and response is not None:
            rates = rates + rate_loss(response.z, target) + rate_loss(learning.signals.spikes, target)
            figures |= {
                "network rate": float(response.z.detach().mean()),
                "LSG rate": float(learning.signals.spikes.detach().mean()),
                "learning signal": float(learning.signals.learning.detach().abs().mean()),
                "log inner rate, input": float(self.weights["log_rate_in"].detach()),
                "log inner rate, recurrent": float(self.weights["log_rate_rec"].detach()),
            }
        return decision + objective.RATE_WEIGHT * rates, scores, labels, figures

    def learner_weights(self) -> dict[str, Tensor]:
        """Return the weights that a device needs, without the objective's own."""
        return {name: tensor.detach().cpu() for name, tensor in self.weights.items() if not name.startswith("objective.")}


def prime(config: PrimeConfig, *, resume: bool = False, watch: Watch | None = None, announce: Callable[[str], None] | None = None) -> Path:
    """Prime a model and write it.

    Args:
        config: of the run.
        resume: continue from the run's checkpoint.
        watch: called after every step.
        announce: called with a line at each stage and validation.

    Returns:
        The model file.

    Raises:
        DataError: unusable data, or no such device.
        ModelError: a checkpoint that cannot be resumed, or a loss that is not a number.
    """
    from priming.finish import save_primed
    from priming.tracking import Tracker
    from priming.validation import validate

    say = announce or (lambda line: None)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise DataError("this machine has no CUDA device that PyTorch can use: leave --device out, or install PyTorch for CUDA")
    run = config.out.with_suffix(".run")
    saved = run / "checkpoint.safetensors"
    if resume and not saved.is_file():
        raise ModelError(f"{saved} does not exist: start without --resume")
    workspace = open_workspace(config, say)
    network = config.learner or workspace.default_learner
    loop = OuterLoop(config, network, workspace)
    if resume:
        loop.resume(saved)
        say(f"resumed at step {loop.step}, {loop.elapsed_s / 60:.1f} minutes in")
    last_saved = time.monotonic()
    due = math.floor(loop.progress * config.validations) + 1
    with Tracker(run / "tensorboard") as tracker:
        try:
            while loop.progress < 1.0:
                report = loop.advance()
                tracker.step(report)
                if watch:
                    watch(report)
                if time.monotonic() - last_saved > config.checkpoint_s:
                    loop.save(saved)
                    last_saved = time.monotonic()
                if config.validations and loop.progress * config.validations >= due:
                    due = math.floor(loop.progress * config.validations) + 1
                    plastic = network.plastic and loop.progress > config.readout_share
                    for subset, summary in validate(loop.learner_weights(), network.model_copy(update={"plastic": plastic}), workspace, config):
                        tracker.validation(loop.step, subset, summary)
                        say(f"step {loop.step}, {subset} validation words: {summary.accuracy:.3f} right, AUROC {summary.auroc_pairs:.4f}")
        finally:
            if loop.whole:
                loop.save(saved)
    return save_primed(config, loop, workspace, say)
