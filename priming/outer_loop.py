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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priming import checkpoint, distillation, objective
from priming.band_augmentation import BandAugmentation, augment_bands, band_centres
from priming.features import Features, delayed
from priming.loop import Loop, StepReport
from priming.prefetch import Clips, Part, Prefetcher, clips_of
from priming.sampler import Task
from snn import features, schemes
from snn.checkpointed import segments
from snn.config import METRIC
from snn.precision import products
from snn.regulariser import rate_loss

# Scalars, time constants and the salience take larger steps: their gradients are of another scale.
SLOW = ("objective.", "log_tau", "feature.log_tau", "lsg.log_tau", "readout.salience")
SLOW_FACTOR = 3.0
METRIC_FACTOR = 0.2  # the metric has so many weights that at the rate of the others they learn the primed words by heart
SHARED = ("feature.", "readout.", "center", "objective.", "lsg.profile")  # the rest belongs to the learning network and its generator
WARM_UP_STEPS = 50
FINAL_RATE = 0.03  # of the largest, at the end of a stage
BACKGROUND_DRAWS = 2  # keeps the draw of background apart from other draws of a step
LEAD_DRAWS = 3  # and that of the lead


class OuterLoop(Loop):
    """A priming run by back-propagation through the inner update; see `priming.loop.Loop`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for tensor in self.theta.values():
            tensor.requires_grad_()
        self._bands = self._band_augmentation()
        self._ahead = Prefetcher(self._parts, self._following if self.config.prefetch else None)
        self.optimizer = torch.optim.Adam([{"params": tensors, "kind": kind} for kind, tensors in self._groups().items()])

    def moments(self) -> dict[str, Tensor]:
        """Return both moments of Adam by the name of their weight."""
        return checkpoint.optimizer_tensors(self.optimizer, self.weights)

    def restore_moments(self, tensors: dict[str, Tensor]) -> None:
        """Put both moments of Adam back."""
        checkpoint.restore_optimizer(self.optimizer, self.weights, tensors)

    def _spikes(
        self, clips: np.ndarray, copies: np.ndarray, number: int, generator: torch.Generator, source: Features | None = None, supports: int = 0
    ) -> Tensor:
        """Return the spikes [T, n, I] of clips as a step hears them; words are learnt from the first so many."""
        source = source or self.workspace.features
        taken = self._ahead.take(source, clips, copies)
        if supports:
            late = source.lateness(clips[:supports], copies[:supports])
            taken = np.concatenate([delayed(taken[:supports], late), taken[supports:]])
        spikes = torch.from_numpy(taken).to(self.config.device).transpose(0, 1)  # [T, n, I]
        if lead := self._draw_lead(number):
            spikes = torch.cat([spikes[:lead].flip(0), spikes])
        kept = torch.rand(1, spikes.shape[1], spikes.shape[2], generator=generator) >= self.config.input_dropout
        if self._bands is not None:
            rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
            spikes = augment_bands(spikes, *self._bands, rng)
        return spikes.to(torch.float32) * kept.to(self.config.device)

    def _band_augmentation(self) -> tuple[NDArray[np.float64], BandAugmentation] | None:
        """Return the centres of the bands and how they are changed; None where they are not. A teacher speaks of the steps as they were."""
        config = self.config
        if not (config.band_warp or config.band_tempo or config.band_masks):
            return None
        tempo = 0.0 if self.workspace.teacher is not None else config.band_tempo
        centres = band_centres(self.workspace.encoder.constants["filters"])  # type: ignore[attr-defined]
        return centres, BandAugmentation(config.band_warp, tempo, config.band_masks)

    def advance(self) -> StepReport:
        """Do one outer step.

        Raises:
            ModelError: the loss or its gradient is not a number; weights and last checkpoint are untouched by it.
        """
        config, started = self.config, time.monotonic()
        self.optimizer.zero_grad()
        told = []
        for task in self.ranks.share(config.tasks):
            with products(config.precision), segments(config.segment_steps):
                loss, figures = self._loss(self.step * config.tasks + task)
            (loss / config.tasks).backward()
            told.append(figures | {"loss": float(loss.detach())})
        figures = self._mean(told)
        figures |= {"rate": self._rate("shared"), "gradient norm": self._descend(figures["loss"])}
        self.elapsed_s = self.ranks.of_leader(self.elapsed_s + time.monotonic() - started)
        loss_, accuracy, words = (figures.pop(name) for name in ("loss", "accuracy", "words"))
        return StepReport(self.step, self.progress, self.elapsed_s, loss_, accuracy, round(words * config.tasks), figures)

    def _loss(self, number: int) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a task, or of a batch of distillation, by its number in the run; and what is told of it."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        if self.progress < config.distil_share:
            return self._distillation_loss(number, generator)
        eprop_stage = self.learner.plastic and self.progress >= self.readout_share
        ways = config.eprop_ways if eprop_stage else config.readout_ways
        task = self._ahead.draw(self.workspace.sampler.draw, number, ways, config.queries, round(config.unknown_share * ways), config.shots)
        loss, scores, labels, figures = self._task_loss(task, number, eprop_stage, generator)
        accuracy = objective.accuracy(scores.detach(), labels)
        return loss, figures | {"accuracy": accuracy, "words": float(len(task.support)), "stage": float(eprop_stage)}

    def _draw_lead(self, number: int) -> int:
        """Draw how many steps come before each clip of a task; always as many, and the network learns how long ago it was at rest."""
        most = round(self.config.lead_ms / self.learner.step_ms)
        return int(np.random.default_rng([self.config.seed, number, LEAD_DRAWS]).integers(most + 1))

    def _distillation_loss(self, number: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch; its accuracy is the cosine with the teacher, and it learns no words."""
        config, teacher = self.config, self.workspace.teacher
        assert teacher is not None
        clips, copies = self._ahead.draw(self._batch, number)
        values = teacher.values(clips, copies, self._ahead.take).to(config.device)
        heard = self._spikes(clips, copies, number, generator)
        loss, figures = distillation.distillation_loss(self.learner, self.weights, heard, values, config.target_rate)
        return loss, figures | {"accuracy": figures["distillation cosine"], "words": 0.0, "stage": -1.0}

    def _batch(self, number: int) -> Clips:
        """Draw the clips of a batch of distillation, and the copy of each."""
        config = self.config
        return distillation.draw_clips(self.workspace.features, config.distil_clips, config.copies, config.seed, number)

    def _parts(self, number: int, drawn: Task | Clips) -> list[Part]:
        """List the clips whose spikes a task needs, or a batch of distillation, and where they are encoded."""
        workspace = self.workspace
        clips = clips_of(drawn) if isinstance(drawn, Task) else drawn
        parts = [(workspace.features, *clips)]
        if workspace.teacher is not None and workspace.teacher.features is not None:
            parts.append((workspace.teacher.features, *clips))
        if workspace.background is not None and self.config.background and isinstance(drawn, Task):
            parts.append((workspace.background.features, *self._stretches(number, workspace.background.features)))
        return parts

    def _following(self, number: int) -> int:
        """Return which task this process works on after another."""
        step, task = divmod(number, self.config.tasks)
        later = task + self.ranks.size
        return number + self.ranks.size if later < self.config.tasks else (step + 1) * self.config.tasks + self.ranks.rank

    def _mean(self, told: list[dict[str, float]]) -> dict[str, float]:
        """Average what is told of the tasks of a step, over all ranks."""
        names = sorted(told[0])
        total = torch.tensor([[figures[name] for name in names] for figures in told], dtype=torch.float64).sum(0)
        self.ranks.add([total])
        return dict(zip(names, (total / self.config.tasks).tolist(), strict=True))

    def _descend(self, loss: float) -> float:
        """Take the outer optimiser's step along the gradient summed over all ranks, and return its norm.

        Raises:
            ModelError: the loss or its gradient is not a number; the weights are untouched by it.
        """
        self.check_finite(loss, "loss")
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(group["kind"])
        self.ranks.add([weight.grad for weight in self.weights.values() if weight.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self.config.clip_gradient)
        self.check_finite(float(norm), "gradient")
        self.whole = False
        self.optimizer.step()
        self.step += 1
        self.whole = True
        return float(norm)

    def _groups(self) -> dict[str, list[Tensor]]:
        """Sort the weights by how fast they are moved."""
        groups: dict[str, list[Tensor]] = {"shared": [], "slow": [], "learning": [], "metric": []}
        for name, tensor in self.theta.items():
            kind = "slow" if name.startswith(SLOW) else "shared" if name.startswith(SHARED) else "learning"
            groups["metric" if name == METRIC else kind].append(tensor)
        return {kind: tensors for kind, tensors in groups.items() if tensors}

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
        largest = {"shared": shared, "slow": SLOW_FACTOR * shared, "metric": METRIC_FACTOR * shared, "learning": config.learning_rate}[kind]
        return min(1.0, (self.step + 1) / WARM_UP_STEPS) * largest * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * within)))

    def _background(self, number: int, generator: torch.Generator) -> list[Tensor]:
        """Draw the stretches of continuous sound of a task: their spikes [T, S, I], or nothing if tasks have none."""
        stretches, count = self.workspace.background, self.config.background
        if stretches is None or not count:
            return []
        return [self._spikes(*self._stretches(number, stretches.features), number, generator, stretches.features)]

    def _stretches(self, number: int, stretches: Features) -> Clips:
        """Draw the stretches of a task, and the copy of each."""
        rng, count = np.random.default_rng([self.config.seed, number, BACKGROUND_DRAWS]), self.config.background
        return rng.integers(len(stretches.clips), size=count), rng.integers(self.config.copies + 1, size=count)

    def _task_loss(self, task: Task, number: int, eprop_stage: bool, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, dict[str, float]]:
        plastic = self.learner.model_copy(update={"plastic": eprop_stage})
        clips, copies = clips_of(task)
        supports = task.support.size
        spikes = torch.cat([self._spikes(clips, copies, number, generator, supports=supports), *self._background(number, generator)], 1)
        heard, population = features.hear(plastic, self.weights, spikes)
        parts = supports, heard.shape[1] - supports
        support, asked = heard.split(parts, dim=1)  # one gradient for both; two slices would bring one each
        learnt, learning = schemes.learn(plastic, self.weights, support, task.support.shape[1])
        running, response = schemes.respond(plastic, self.weights, learnt, asked)
        scores, background = running.amax(0).T.split([len(task.queries), asked.shape[1] - len(task.queries)])  # [Q, B] and [S, B]
        labels = torch.from_numpy(task.labels).to(scores.device)
        decision = objective.decision_loss(scores, labels, self.weights)
        stretches = self.workspace.background
        if stretches is not None and len(background):
            words = [self.workspace.features.clips[clip].word for clip in task.support[:, 0]]
            says = torch.from_numpy(stretches.say(self._stretches(number, stretches.features)[0], words)).to(scores.device)
            decision = decision + self.config.background_weight * objective.background_loss(scores, labels, background, says, self.weights)
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
            values = self.workspace.teacher.values(clips, copies, self._ahead.take).to(self.config.device)  # of the clips as they are: of the queries
            imitation, agreement = distillation.imitation_loss(plastic, self.weights, heard[:, supports : len(clips)], values[:, supports:])
            loss, figures = loss + self.config.distil_weight * imitation, figures | agreement
        return loss, scores, labels, figures
