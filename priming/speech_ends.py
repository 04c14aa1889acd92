"""When the speech in each clip ends, found as an enrolment finds it, so that priming lets words be learnt from what an enrolment hears."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio import voice
from audio.utterance import MARGIN_S
from priming.atomic import write_atomically
from priming.clip import Clip, load_many
from priming.fingerprint import fingerprint

PART = 512  # clips of a job
DETECTOR = (voice.MODE, voice.MARGIN_DB, voice.LOWEST_DBFS, voice.HANGOVER, voice.ONSET)  # what its findings depend on


def rest_after_speech(clips: Sequence[Clip], directory: Path, workers: int | None = None) -> NDArray[np.float32]:
    """Find how long each clip goes on after its speech, or read what an earlier run found.

    Args:
        clips: whose speech ends are wanted.
        directory: parent of the cache.
        workers: processes; one per core when None.

    Returns:
        float32 [n] seconds. 0 for a word in its sentence, whose edges are those of its alignment; the margin of an enrolment where no speech is
        found, as an enrolment then learns from the whole clip.

    Raises:
        audio.errors.AudioError: a recording is missing or unreadable.
        DataError: a cut lies outside its recording.
    """
    file = directory / f"speech-ends-{fingerprint([DETECTOR, MARGIN_S, [(clip.key, clip.duration_s) for clip in clips]])}.npy"
    if not file.exists():
        order = sorted(range(len(clips)), key=lambda index: (clips[index].path, clips[index].start_s))  # each recording is decoded by one job
        parts = [[clips[index] for index in order[start : start + PART]] for start in range(0, len(order), PART)]
        with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("forkserver")) as pool:
            found = {key: rest for part in pool.map(_find, parts) for key, rest in part.items()}
        buffer = io.BytesIO()
        np.save(buffer, np.array([found[clip.key] for clip in clips], np.float32))
        write_atomically(file, buffer.getvalue())
    rests: NDArray[np.float32] = np.load(file)
    return rests


def _find(clips: Sequence[Clip]) -> dict[str, float]:
    found = {clip.key: 0.0 for clip in clips}
    for clip, samples in load_many([clip for clip in clips if not (clip.lead_s or clip.follow_s)]):
        segments = voice.speech_segments(samples)
        found[clip.key] = clip.duration_s - segments[-1][1] if segments else MARGIN_S
    return found
