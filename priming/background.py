"""The background bank: spikes of speech and noise that say none of a user's words, built into the model file.

Words of priming by many speakers, stretches of sentences, and noise, in pieces of equal length, each encoded as a stream of its own. Calibration
listens to it (`priming.calibration`). It is made of what the gate has let through, so no held-back word is in it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.encoder import SpikeEncoder
from priming.calibration import PIECE_MS
from priming.corpus import Clip, load
from priming.episodes import BEFORE_S, hearing
from priming.features import last_steps
from priming.gate import PrimingData

WORDS, STRETCHES, NOISES = 110, 60, 30  # pieces of each kind


def build_background(encoder: SpikeEncoder, data: PrimingData, seed: int = 0) -> NDArray[np.uint8]:
    """Encode the bank.

    Args:
        encoder: fitted.
        data: what may be heard.
        seed: of the choice of pieces.

    Returns:
        uint8 [pieces * steps, I], steps of one piece after those of another.
    """
    rng = np.random.default_rng(seed)
    steps = round(PIECE_MS / encoder.step_ms)
    length = round((BEFORE_S + PIECE_MS / 1000) * SAMPLE_RATE)
    words = data.words
    one_each = {words[i].word: words[i] for i in rng.permutation(len(words))}
    pieces = [hearing(load(clip)) for clip in _draw(sorted(one_each.values(), key=lambda clip: clip.key), WORDS, rng)]
    for clip in [*_draw(data.speech, STRETCHES, rng), *_draw(data.noise, NOISES, rng)]:
        samples = np.resize(load(clip), max(length, round(clip.duration_s * SAMPLE_RATE)))
        start = int(rng.integers(len(samples) - length + 1))
        pieces.append(samples[start : start + length])
    return np.concatenate([last_steps(encoder.encode(piece), steps) for piece in pieces])


def _draw(clips: Sequence[Clip], count: int, rng: np.random.Generator) -> list[Clip]:
    return [clips[int(i)] for i in rng.permutation(len(clips))[:count]]
