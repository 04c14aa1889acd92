"""Is this recording good enough to learn a word from? One utterance is all the device gets, so a bad one is refused, with the reason.

Speech is found with the detector of `audio.voice`; its length, its level, clipping and the distance to the background are judged, each against a
fixed limit that is named here.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio.constants import SAMPLE_RATE
from audio.samples import as_samples
from audio.voice import FRAME, LOWEST_DBFS, level_dbfs, speech_segments

CLIPPED_AT, CLIPPED_SHARE = 0.999, 0.01  # of full scale; of the samples of speech
SHORTEST_S, LONGEST_S = 0.2, 2.5  # of speech
LOW_SNR_DB, LOW_LEVEL_DBFS = 10.0, -45.0
FEWEST_BACKGROUND_FRAMES = 5


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a recording."""

    name: str  # silent, no_speech, clipped, too_short, too_long, noisy or quiet
    message: str  # what is wrong and what to do, one line
    fatal: bool  # refuse the recording, rather than warn


@dataclass(frozen=True)
class Quality:
    """What was measured in a recording."""

    duration_s: float
    speech_start_s: float | None  # None when no speech was found
    speech_end_s: float | None
    level_dbfs: float  # root mean square of the speech, of everything when no speech was found
    peak_dbfs: float
    clipped_share: float  # of the samples of speech
    snr_db: float | None  # level of the speech over the background; None when no speech was found
    verdict: list[Problem] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(problem.fatal for problem in self.verdict)


def _signal_to_noise(samples: NDArray[np.float32], first: int, last: int) -> float:
    """Compare the speech between two samples with the background outside it, or with its own quietest tenth when it fills the recording."""
    frames = np.square(samples[: len(samples) // FRAME * FRAME], dtype=np.float64).reshape(-1, FRAME).mean(1)
    margin = 2 * FRAME  # soft edges of speech are no background
    starts = np.arange(len(frames)) * FRAME
    outside = frames[(starts + FRAME <= first - margin) | (starts >= last + margin)]
    if len(outside) < FEWEST_BACKGROUND_FRAMES:
        outside = np.sort(frames)[: max(1, len(frames) // 10)]
    speech, noise = float(np.mean(np.square(samples[first:last], dtype=np.float64))), float(outside.mean()) + 1e-12
    return 10 * float(np.log10(max(speech - noise, 1e-3 * noise) / noise))


def assess(samples: ArrayLike) -> Quality:
    """Judge a recording of one word.

    Args:
        samples: float32 [n] at 16 kHz in [-1, 1].

    Returns:
        The measurements and the problems found.

    Raises:
        AudioError: samples that are no audio.
    """
    signal = as_samples(samples)
    duration = len(signal) / SAMPLE_RATE
    peak = 20 * float(np.log10(max(1e-6, float(np.max(np.abs(signal), initial=0.0)))))
    level = level_dbfs(signal)
    segments = speech_segments(signal)
    if not segments:
        if level < LOWEST_DBFS:
            problem = Problem("silent", f"the recording is silent ({level:.0f} dBFS): check that the microphone is on and not muted", True)
        elif peak > -0.1 and np.mean(np.abs(signal) >= CLIPPED_AT) > CLIPPED_SHARE:
            problem = Problem("clipped", "the recording is clipped and holds no recognisable speech: lower the microphone's level", True)
        else:
            problem = Problem("no_speech", "no speech found in the recording: say the word clearly, close to the microphone", True)
        return Quality(duration, None, None, level, peak, float(np.mean(np.abs(signal) >= CLIPPED_AT)) if len(signal) else 0.0, None, [problem])
    start, end = segments[0][0], segments[-1][1]
    first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    spoken = sum(segment[1] - segment[0] for segment in segments)
    speech = signal[first:last]
    clipped, level = float(np.mean(np.abs(speech) >= CLIPPED_AT)), level_dbfs(speech)
    snr = _signal_to_noise(signal, first, last)
    found = []
    if clipped > CLIPPED_SHARE:
        found.append(Problem("clipped", f"{clipped:.0%} of the speech is clipped: lower the microphone's level or speak further away", True))
    if spoken < SHORTEST_S:
        found.append(Problem("too_short", f"only {spoken:.2f} s of speech: choose a longer word or say it more slowly", True))
    if end - start > LONGEST_S:
        found.append(Problem("too_long", f"{end - start:.1f} s of speech: say one word only, at most {LONGEST_S} s", True))
    if snr < LOW_SNR_DB:
        found.append(Problem("noisy", f"speech only {snr:.0f} dB above the background: come closer or find a quieter place", False))
    if level < LOW_LEVEL_DBFS:
        found.append(Problem("quiet", f"speech is faint ({level:.0f} dBFS): raise the microphone's level or come closer", False))
    return Quality(duration, start, end, level, peak, clipped, snr, found)
