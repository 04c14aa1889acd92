"""Stretches of continuous sound for the tasks of priming: what a listener hears nearly all the time, and must not take for a word.

Sentences and household noise, cut anywhere: a stretch begins and ends in the middle of whatever is said. Like the bank that words are calibrated
against (`priming.background`), but many short stretches to draw from instead of few long ones to listen to. What is said in a stretch is looked up: a
word of the task that it says, or that a word of it holds ("one" in "someone"), is not to be kept silent by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from priming.background import NOISE_EVERY
from priming.clip import Clip
from priming.episodes import AFTER_S, BEFORE_S
from priming.features import Features
from priming.gate import PrimingData
from priming.manifest import read_alignments


@dataclass(frozen=True)
class Stretches:
    """Encoded stretches, and what is said in them."""

    features: Features
    spoken: Sequence[str]  # of each stretch, its words between spaces: " so they went on "
    _known: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False, compare=False)  # which stretches say a word asked for before

    def say(self, chosen: NDArray[np.int64], words: Sequence[str]) -> NDArray[np.bool_]:
        """Say which stretches hold which words, by themselves or as a part of another word.

        Args:
            chosen: [S] stretches.
            words: B words, or several words with spaces between.

        Returns:
            [S, B].
        """
        for word in words:
            if word not in self._known:
                self._known[word] = np.array([word in spoken for spoken in self.spoken])
        return np.stack([self._known[word][chosen] for word in words], 1)


def said_in(clips: Sequence[Clip]) -> list[str]:
    """Look up what stretches say, words that they cut in two among them.

    Args:
        clips: stretches of one data folder.

    Returns:
        The words of each between spaces; a space where nothing is known to be said.

    Raises:
        DataError: the folder's alignments are damaged.
    """
    wanted = {clip.path for clip in clips}
    words = {path: spoken for path, spoken in (read_alignments(clips[0].root) if clips else ()) if path in wanted}
    return [
        " ".join(["", *(word.word for word in words.get(clip.path, ()) if word.end_s > clip.start_s and word.start_s < (clip.end_s or np.inf)), ""])
        for clip in clips
    ]


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
