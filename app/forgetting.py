r"""A word without its utterance: the change of the weights is kept, what was heard is not.

The factors of a weight change (`hardware.backend.Shot`) hold the utterance's input spikes. Who does not want them kept gets the change itself,

.. math:: g = \frac{1}{K} \sum_k F_k^\top X_k, \qquad g_{ji} \approx s_j\, (n_{ji} - c_i), \qquad s_j = \max_i |g_{ji}| / 126

for the K utterances together, F their e-prop factors and X what arrived less its ordinary value c, with whole numbers n from -127 to 127. It is
written in the form of a shot of N steps, in each of which one neuron has a factor, :math:`s_j`, and the numbers n arrive in place of spikes: every
backend that rebuilds a weight change from factors rebuilds this one. A word in this form can be recognised, renamed and moved, but nothing can be
learnt from it anew or added to it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.word_file import StoredWord

if TYPE_CHECKING:
    from torch import Tensor

    from hardware import Shot

LEVELS = 126  # below 127, so that adding c, at most 1, stays within 8 bits


def forget(word: StoredWord, center: "Tensor") -> StoredWord:
    """Throw away the utterances of a word.

    Args:
        word: with its utterances.
        center: c [H] of its model: what arrives ordinarily.

    Returns:
        The same word, its change of the weights rounded to eight bits; the word itself where its utterances are forgotten already.
    """
    return word if word.info.forgotten else StoredWord(info=word.info.model_copy(update={"forgotten": True}), shots=(merged(word.shots, center),))


def merged(shots: Sequence["Shot"], center: "Tensor") -> "Shot":
    """Bring the changes of several shots into the form of one, from which no utterance can be read.

    Args:
        shots: of a word, K of them.
        center: c [H] of its model.

    Returns:
        factor [N, N] diagonal, inputs [N, I], features [N, F] and recurrent [N, N] int8, readout [D K].
    """
    from hardware import Shot

    ordinary, inputs = center.numpy().astype(np.float64), shots[0].inputs.shape[1]
    change = sum(_gradient(shot, ordinary) for shot in shots) / len(shots)  # [N, H + N]
    scale = np.abs(change).max(1).astype(np.float32) / LEVELS
    amplitudes = change / np.where(scale > 0, scale, 1)[:, None]
    amplitudes[:, : len(ordinary)] += ordinary
    rounded: Any = np.rint(amplitudes).astype(np.int8)  # spikes, had there been an utterance
    readout = np.mean([shot.readout for shot in shots], axis=0).astype(np.float32)
    return Shot(
        factor=np.diag(scale),
        inputs=rounded[:, :inputs],
        features=rounded[:, inputs : len(ordinary)],
        recurrent=rounded[:, len(ordinary) :],
        readout=readout / np.float32(max(float(np.linalg.norm(readout)), 1e-6)),
    )


def _gradient(shot: "Shot", ordinary: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Sum a shot's factors over what arrived: [N, H + N], the gradients of W_in and W_rec side by side."""
    arrived = np.concatenate([shot.inputs - ordinary[: shot.inputs.shape[1]], shot.features - ordinary[shot.inputs.shape[1] :]], 1)
    gradient: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = shot.factor.T.astype(np.float64) @ np.concatenate([arrived, shot.recurrent], 1)
    return gradient
