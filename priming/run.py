"""A priming run from configuration to model file: data, outer loop, validations, checkpoints; on one process or on several ranks."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

from priming import checkpoint
from priming.config import PrimeConfig
from priming.distributed import Ranks, joined_ranks
from priming.errors import DataError, ModelError
from priming.finish import save_primed
from priming.loop import Loop, StepReport, Watch, best_of, stalled
from priming.outer_loop import OuterLoop
from priming.tracking import Tracker
from priming.workspace import Workspace, open_workspace
from snn.config import METRIC

Say = Callable[[str], None]
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "bad_alloc")  # how PyTorch on a CPU tells


def prime(config: PrimeConfig, *, resume: bool = False, watch: Watch | None = None, announce: Say | None = None) -> Path | None:
    """Prime a model and write it.

    Args:
        config: of the run.
        resume: continue from the run's checkpoint; so does a run whose processes torchrun started again.
        watch: called after every step.
        announce: called with a line at each stage and validation.

    Returns:
        The model file; None in a process that does not lead (`priming.distributed`), which neither watches nor announces.

    Raises:
        DataError: unusable data, no such device, or more processes than tasks in a step.
        ModelError: a checkpoint that cannot be resumed, a loss that is not a number, or another process that is gone.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise DataError("this machine has no CUDA device that PyTorch can use: leave --device out, or install PyTorch for CUDA")
    with joined_ranks(config.device) as ranks:
        name = "population" if config.optimizer == "es" else "tasks"
        if ranks.size > getattr(config, name):
            raise DataError(f"{ranks.size} processes cannot share {getattr(config, name)} {name} a step: add --set {name}={2 * ranks.size}")
        if not ranks.leads:
            watch, announce = None, None
        return _run(config, ranks, resume, watch or (lambda report: None), announce or (lambda line: None))


def _run(config: PrimeConfig, ranks: Ranks, resume: bool, watch: Watch, say: Say) -> Path | None:
    run = config.out.with_suffix(".run")
    saved, best = run / "checkpoint.safetensors", run / "best.safetensors"
    resume = resume or (ranks.restarted and saved.is_file())
    if resume and ranks.leads and not saved.is_file():
        raise ModelError(f"{saved} does not exist: start without --resume")
    with ranks.machine_leader_first():
        workspace = open_workspace(config, say)
    loop = open_loop(config, workspace, ranks)
    say(f"configuration: {loop.configuration()}")
    if ranks.leads and resume:
        loop.resume(saved)
        say(f"resumed at step {loop.step}, {loop.elapsed_s / 60:.1f} minutes in")
    elif ranks.leads and ranks.size > 1:
        loop.save(saved)  # what is found when torchrun starts all again is then this run's
    loop.align()
    last_saved = time.monotonic()
    with Tracker(run / "tensorboard") if ranks.leads else nullcontext() as tracker:
        try:
            while True:
                if loop.validation_due:  # asked before a step: a run that was interrupted between step and validation catches up
                    _validate(loop, tracker, say)
                    if ranks.leads and config.patience and best_of(loop.history) is loop.history[-1]:
                        loop.save(best)
                if loop.progress >= 1.0 or stalled(loop.history, config.patience):
                    break
                report = _advance(loop)
                if tracker:
                    tracker.step(report)
                watch(report)
                if ranks.leads and time.monotonic() - last_saved > config.checkpoint_s:
                    loop.save(saved)
                    last_saved = time.monotonic()
        finally:
            if ranks.leads and loop.whole:
                loop.save(saved)
    if not ranks.leads:
        return None
    chosen = best_of(loop.history) if config.patience else None
    if chosen is not None:
        say(f"the weights of step {chosen.step} were the best on validation words, of {loop.step} steps")
        loop.take(checkpoint.load_checkpoint(best), best)
    return save_primed(config, loop, workspace, say)


def open_loop(config: PrimeConfig, workspace: Workspace, ranks: Ranks | None = None) -> Loop:
    """Prepare the outer loop that a run asks for.

    Args:
        config: of the run.
        workspace: of the run.
        ranks: this process among those of the run; alone when None.

    Raises:
        DataError: the optimiser's library is missing.
        ModelError: the model to start from cannot be read.
    """
    from priming.evolution import EvolutionLoop
    from priming.model import load_model

    kind: type[Loop] = EvolutionLoop if config.optimizer == "es" else OuterLoop
    if config.start is not None:
        model = load_model(config.start)
        learner, primed = config.asked(model.config.learner), dict(model.weights)
        if learner.metric:
            primed.setdefault(METRIC, torch.eye(len(learner.delays) * learner.projection))
        return kind(config, learner, workspace, primed, model.sha256, ranks)
    return kind(config, config.asked(config.learner or workspace.default_learner), workspace, ranks=ranks)


def _validate(loop: Loop, tracker: Tracker | None, say: Say) -> None:
    """Record figures on validation words; the leader finds them for all ranks."""
    from priming.validation import validate

    found = {}
    if loop.ranks.leads:
        plastic = loop.learner.plastic and loop.progress > loop.readout_share
        network = loop.learner.model_copy(update={"plastic": plastic})
        for subset, summary in validate(loop.learner_weights(), network, loop.workspace, loop.config):
            if tracker:
                tracker.validation(loop.step, subset, summary)
            say(f"step {loop.step}, {subset} validation words: {summary.accuracy:.3f} right, AUROC {summary.auroc_pairs:.4f}")
            found[subset] = summary.figures()
    loop.validated(json.loads(loop.ranks.bytes_of_leader(json.dumps(found).encode())))


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
