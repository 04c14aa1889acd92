r"""The outer loop: Adam on the weights from which a device learns, by back-propagation through the inner e-prop update.

.. math::
    \Theta \leftarrow \Theta - \mathrm{Adam}\left(\nabla_\Theta\, E\big(\text{queries};\ \Theta + \Delta W(\text{support}; \Theta)\big)\right)

:math:`\Theta` is what the scheme primes (`snn.schemes`). By default it holds the feature population, the initial weights of the learning network, the
learning-signal generator, the inner learning rates and what the readout has primed (option 4 of Scherr & Maass, "natural e-prop"). The inner update
is the factorised e-prop of `snn.eprop`, so the gradient passes through every learning signal and every eligibility trace. A run has two stages: first
only the readout learns a word, so that tasks of many words are cheap and the shared part is primed; then the learning network and what teaches it
join, W_in and W_rec plastic, one network a word. A stage without tasks may come before them (`priming.distillation`); schemes without a plastic
readout, or that prime nothing of it, have the second alone.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from priming import checkpoint, distillation, objective
from priming.config import PrimeConfig
from priming.errors import DataError, ModelError
from priming.loop import Loop, StepReport, Watch, best_of, stalled
from priming.sampler import Task
from priming.workspace import Workspace, open_workspace
from snn import features, schemes
from snn.regulariser import rate_loss

if TYPE_CHECKING:
    from priming.tracking import Tracker

# Scalars, time constants and the salience take larger steps: their gradients are of another scale.
SLOW = ("objective.", "log_tau", "feature.log_tau", "lsg.log_tau", "readout.salience")
SLOW_FACTOR = 3.0
SHARED = ("feature.", "readout.", "center", "objective.", "lsg.profile")  # the rest belongs to the learning network and its generator
WARM_UP_STEPS = 50
FINAL_RATE = 0.03  # of the largest, at the end of a stage
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "bad_alloc")  # how PyTorch on a CPU tells


class OuterLoop(Loop):
    """A priming run by back-propagation through the inner update; see `priming.loop.Loop`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for tensor in self.theta.values():
            tensor.requires_grad_()
        self.optimizer = torch.optim.Adam([{"params": tensors, "kind": kind} for kind, tensors in self._groups().items()])

    def moments(self) -> dict[str, Tensor]:
        """Return both moments of Adam by the name of their weight."""
        return checkpoint.optimizer_tensors(self.optimizer, self.weights)

    def restore_moments(self, tensors: dict[str, Tensor]) -> None:
        """Put both moments of Adam back."""
        checkpoint.restore_optimizer(self.optimizer, self.weights, tensors)

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
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        if self.progress < config.distil_share:
            return self._distil(generator, started)
        eprop_stage = self.learner.plastic and self.progress >= self.readout_share
        ways = config.eprop_ways if eprop_stage else config.readout_ways
        task = self.workspace.sampler.draw(self.step, ways, config.queries, round(config.unknown_share * ways))
        loss, scores, labels, figures = self._task_loss(task, eprop_stage, generator)
        figures |= self._descend(loss, started) | {"stage": float(eprop_stage)}
        correct = objective.accuracy(scores.detach(), labels)
        return StepReport(self.step, self.progress, self.elapsed_s, float(loss.detach()), correct, len(task.support), figures)

    def _distil(self, generator: torch.Generator, started: float) -> StepReport:
        """Do one step of distillation; its accuracy is the cosine with the teacher, and it learns no words."""
        config, teacher = self.config, self.workspace.teacher
        assert teacher is not None
        clips, copies = distillation.draw_clips(self.workspace.features, config.distil_clips, config.copies, config.seed, self.step)
        values = teacher.values(clips, copies).to(config.device)
        heard = self._spikes(clips, copies, generator)
        loss, figures = distillation.distillation_loss(self.learner, self.weights, heard, values, config.target_rate)
        figures |= self._descend(loss, started) | {"stage": -1.0}
        return StepReport(self.step, self.progress, self.elapsed_s, float(loss.detach()), figures["distillation cosine"], 0, figures)

    def _descend(self, loss: Tensor, started: float) -> dict[str, float]:
        """Take the outer optimiser's step.

        Raises:
            ModelError: the loss or its gradient is not a number; the weights are untouched by it.
        """
        self.check_finite(float(loss.detach()), "loss")
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(group["kind"])
        figures = {"rate": self._rate("shared")}
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self.config.clip_gradient)
        self.check_finite(float(norm), "gradient")
        self.whole = False
        self.optimizer.step()
        self.step += 1
        self.elapsed_s += time.monotonic() - started
        self.whole = True
        return figures | {"gradient norm": float(norm)}

    def _groups(self) -> dict[str, list[Tensor]]:
        """Sort the weights by how fast they are moved."""
        groups: dict[str, list[Tensor]] = {"shared": [], "slow": [], "learning": []}
        for name, tensor in self.theta.items():
            groups["slow" if name.startswith(SLOW) else "shared" if name.startswith(SHARED) else "learning"].append(tensor)
        return groups

    def _rate(self, kind: str) -> float:
        """Fall along half a cosine within each stage; the last starts high again, as what it moves has not moved yet."""
        config, share = self.config, self.readout_share
        if self.progress < config.distil_share:
            begin, end, shared = 0.0, config.distil_share, config.distil_rate
        elif self.progress < share:
            begin, end, shared = config.distil_share, share, config.rate
        else:
            begin, end, shared = share, 1.0, config.eprop_rate
        within = (self.progress - begin) / (end - begin)
        largest = {"shared": shared, "slow": SLOW_FACTOR * shared, "learning": config.learning_rate}[kind]
        return min(1.0, (self.step + 1) / WARM_UP_STEPS) * largest * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * within)))

    def _task_loss(self, task: Task, eprop_stage: bool, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, dict[str, float]]:
        plastic = self.learner.model_copy(update={"plastic": eprop_stage})
        clips, copies = np.concatenate([task.support, task.queries]), np.concatenate([task.support_copies, task.query_copies])
        heard, population = features.hear(plastic, self.weights, self._spikes(clips, copies, generator))
        words = len(task.support)
        learnt, learning = schemes.learn(plastic, self.weights, heard[:, :words])
        running, response = schemes.respond(plastic, self.weights, learnt, heard[:, words:])
        scores = running.amax(0).T  # [Q, B]
        labels = torch.from_numpy(task.labels).to(scores.device)
        decision = objective.decision_loss(scores, labels, self.weights)
        target = self.config.target_rate
        rates = rate_loss(population.z, target)
        figures = {"decision loss": float(decision.detach()), "feature rate": float(population.z.detach().mean())}
        if learning is not None and response is not None:
            rates = rates + rate_loss(response.z, target)
            figures["network rate"] = float(response.z.detach().mean())
            if learning.signals is not None:
                figures["learning signal"] = float(learning.signals.learning.detach().abs().mean())
                figures["log inner rate, input"] = float(self.weights["log_rate_in"].detach().mean())
                figures["log inner rate, recurrent"] = float(self.weights["log_rate_rec"].detach().mean())
                if learning.signals.spikes is not None:
                    rates = rates + rate_loss(learning.signals.spikes, target)
                    figures["LSG rate"] = float(learning.signals.spikes.detach().mean())
        loss = decision + objective.RATE_WEIGHT * rates
        if self.workspace.teacher is not None and self.config.distil_weight:
            values = self.workspace.teacher.values(clips, copies).to(self.config.device)
            imitation, agreement = distillation.imitation_loss(plastic, self.weights, heard, values)
            loss, figures = loss + self.config.distil_weight * imitation, figures | agreement
        return loss, scores, labels, figures


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

    say = announce or (lambda line: None)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise DataError("this machine has no CUDA device that PyTorch can use: leave --device out, or install PyTorch for CUDA")
    run = config.out.with_suffix(".run")
    saved, best = run / "checkpoint.safetensors", run / "best.safetensors"
    if resume and not saved.is_file():
        raise ModelError(f"{saved} does not exist: start without --resume")
    workspace = open_workspace(config, say)
    loop = open_loop(config, workspace)
    say(f"configuration: {loop.configuration()}")
    if resume:
        loop.resume(saved)
        say(f"resumed at step {loop.step}, {loop.elapsed_s / 60:.1f} minutes in")
    last_saved = time.monotonic()
    with Tracker(run / "tensorboard") as tracker:
        try:
            while True:
                if loop.validation_due:  # asked before a step: a run that was interrupted between step and validation catches up
                    _validate(loop, tracker, say)
                    if config.patience and best_of(loop.history) is loop.history[-1]:
                        loop.save(best)
                if loop.progress >= 1.0 or stalled(loop.history, config.patience):
                    break
                report = _advance(loop)
                tracker.step(report)
                if watch:
                    watch(report)
                if time.monotonic() - last_saved > config.checkpoint_s:
                    loop.save(saved)
                    last_saved = time.monotonic()
        finally:
            if loop.whole:
                loop.save(saved)
    chosen = best_of(loop.history) if config.patience else None
    if chosen is not None:
        say(f"the weights of step {chosen.step} were the best on validation words, of {loop.step} steps")
        loop.take(checkpoint.load_checkpoint(best), best)
    return save_primed(config, loop, workspace, say)


def open_loop(config: PrimeConfig, workspace: Workspace) -> Loop:
    """Prepare the outer loop that a run asks for.

    Raises:
        DataError: the optimiser's library is missing.
        ModelError: the model to start from cannot be read.
    """
    from priming.evolution import EvolutionLoop
    from priming.model import load_model

    kind = EvolutionLoop if config.optimizer == "es" else OuterLoop
    if config.start is not None:
        model = load_model(config.start)
        return kind(config, model.config.learner, workspace, dict(model.weights), model.sha256)
    return kind(config, config.asked(config.learner or workspace.default_learner), workspace)


def _validate(loop: Loop, tracker: "Tracker", say: Callable[[str], None]) -> None:
    """Record figures on validation words."""
    from priming.validation import validate

    plastic = loop.learner.plastic and loop.progress > loop.readout_share
    network = loop.learner.model_copy(update={"plastic": plastic})
    found = dict(validate(loop.learner_weights(), network, loop.workspace, loop.config))
    for subset, summary in found.items():
        tracker.validation(loop.step, subset, summary)
        say(f"step {loop.step}, {subset} validation words: {summary.accuracy:.3f} right, AUROC {summary.auroc_pairs:.4f}")
    loop.validated(found)


def _advance(loop: Loop) -> StepReport:
    """Do one outer step, and tell what to lower if the memory does not suffice."""
    try:
        return loop.advance()
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        name = "readout_ways" if loop.learner.plastic and loop.progress < loop.readout_share else "eprop_ways"
        words = getattr(loop.config, name)
        told = f"the memory does not suffice at step {loop.step} for tasks of {words} words with {loop.config.queries} queries each"
        raise ModelError(f"{told}: lower them with --set {name}={max(2, words // 2)} or --set queries=1; the last checkpoint is kept") from error
