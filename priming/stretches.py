"""Stretches of continuous sound for the tasks of priming: what a listener hears nearly all the time, and must not take for a word.

Sentences and household noise, cut anywhere: a stretch begins and ends in the middle of whatever is said. Like the bank that words are calibrated
against (`priming.background`), but many short stretches to draw from instead of few long ones to listen to.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from priming.background import NOISE_EVERY
from priming.clip import Clip
from priming.episodes import AFTER_S, BEFORE_S
from priming.gate import PrimingData


def stretch_clips(data: PrimingData, count: int, length_s: float, seed: int = 0) -> list[Clip]:
    """Cut stretches out of what priming may hear; a fifth of them noise alone, where there is any.

    Args:
        data: what the gate let through.
        count: stretches to cut.
        length_s: of what is kept of a stretch; so much more is cut as a learner hears before a word.
        seed: of the draw.

    Returns:
        Clips without a word, each different; fewer where recordings are short of it, none where none is long enough. Nothing of their own
        background is added around them.
    """
    rng = np.random.default_rng(seed)
    length = BEFORE_S + length_s
    noise = _long_enough(data.noise, length)
    speech = _long_enough(data.speech, length)
    of_noise = count // NOISE_EVERY if speech else count
    return [*_cut(speech, count - of_noise if noise else count, length, rng), *_cut(noise, of_noise, length, rng)]


def _long_enough(clips: Sequence[Clip], length_s: float) -> list[Clip]:
    return [clip for clip in clips if clip.duration_s >= length_s]


def _cut(clips: Sequence[Clip], count: int, length_s: float, rng: np.random.Generator) -> list[Clip]:
    """Cut stretches at random, longer recordings more often; none twice."""
    if not clips:
        return []
    room = np.array([clip.duration_s - length_s for clip in clips])
    chosen = rng.choice(len(clips), count, p=(room + length_s) / (room + length_s).sum())
    found: dict[str, Clip] = {}
    for index, place in zip(chosen.tolist(), rng.random(count).tolist(), strict=True):
        start_s = round(clips[index].start_s + place * room[index], 3)
        stretch = replace(
            clips[index], start_s=start_s, end_s=start_s + length_s, duration_s=length_s, lead_s=BEFORE_S, follow_s=AFTER_S
        )  # as much was said around it as a learner hears around a word
        found[stretch.key] = stretch
    return list(found.values())
