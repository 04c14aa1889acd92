"""The end of a run: a step back to where it started, whitening of the metric, background bank, levels of scores, provenance, and the model file.

Priming starts from prototype matching on the encoder's own values, which serves all words alike, and moves to what serves the primed ones best. A
mean of both sets of weights, most of it the primed ones, tells words that priming never heard better apart (Wortsman et al. 2022) and listens a
little worse; so it is asked for, with `initial_share`.
"""

import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priming.background import cached_background
from priming.calibration import SEVERAL
from priming.config import PrimeConfig
from priming.levels import average_levels, average_tail
from priming.model import ModelConfig, load_model, save_model
from priming.validation import validate
from priming.whitening import covariance, whitened
from priming.workspace import Workspace, cache_folder
from snn.config import METRIC

if TYPE_CHECKING:
    from priming.loop import Loop


def save_primed(config: PrimeConfig, loop: "Loop", workspace: Workspace, say: Callable[[str], None]) -> Path:
    """Write the model of a finished run.

    Args:
        config: of the run.
        loop: at its end.
        workspace: of the run.
        say: called with a line at each stage.

    Returns:
        The file.
    """
    say("encoding the background bank")
    background = cached_background(workspace.encoder, workspace.data, config.encoding_seed, cache_folder(config))
    weights = loop.finished_weights()
    origin = None if config.start is None else load_model(config.start)
    white = origin is not None and origin.config.learner.metric  # what was primed from there is in whitened directions already
    if config.whitening and workspace.background is not None and METRIC in weights and not white:
        usual = covariance(loop.learner, weights, workspace.background.features, config.copies)
        weights[METRIC] = whitened(weights[METRIC], usual, config.whitening)
    levels = None if loop.learner.theta == "weights" else average_levels(loop.learner, weights, workspace.features, background.spikes)
    weight = 0.0 if levels is None else config.running_speech * (levels[1] - levels[0])
    tail = several = None
    if levels is not None:
        tail, several = (average_tail(loop.learner, weights, workspace.features, background, levels, weight, shots) for shots in (1, SEVERAL))
    clips = workspace.data.words
    provenance: dict[str, Any] = {
        "configuration": config.model_dump(mode="json", exclude={"data", "out", "cache", "teacher"}),
        "steps": loop.step,
        "history": [asdict(each) for each in loop.history],
        "outer_loop_minutes": round(loop.elapsed_s / 60, 1),
        "machine": f"{platform.machine()}, {config.device}",
        "clips": dict(sorted(Counter(clip.corpus for clip in clips).items())),
        "words": len({clip.word for clip in clips}),
        "speakers": len({clip.speaker for clip in clips}),
        "validation": {subset: summary.figures() for subset, summary in validate(weights, loop.learner, workspace, config)},
    }
    if workspace.teacher is not None and workspace.teacher.provenance:
        provenance["teacher"] = workspace.teacher.provenance
    if origin is not None:
        provenance["origin"] = {"sha256": origin.sha256, "provenance": origin.config.provenance}
    model = ModelConfig(
        name=config.out.stem,
        encoder=workspace.encoder.config,  # type: ignore[attr-defined]
        learner=loop.learner,
        speeds=config.speeds,
        levels=levels,
        tail=tail,
        tail_several=several,
        running_speech=weight,
        provenance=provenance,
    )
    save_model(config.out, model, weights, workspace.encoder.constants, *background)  # type: ignore[attr-defined]
    say(f"wrote {config.out}")
    return config.out
