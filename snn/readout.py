r"""The readout of an enrolled word: time-resolved, normalised, and plastic.

Its sources are the spikes y of the learning network and, when the configuration says so, of the input. They are low-passed, centred and scaled, and
each reaches the readout over several delays d, so that the beginning, the middle and the end of a word arrive together at its end:

.. math::
    r_j^t = \kappa r_j^{t-1} + (1-\kappa) y_j^t, \qquad f_{jd}^t = \gamma_{jd} (r_j^{t-d} - c_j), \qquad
    s^t = \frac{\sum_{jd} w_{jd} f_{jd}^t}{\lVert w \rVert\, \lVert f^t \rVert}

:math:`\gamma, c` are primed. w is zero until a word is learnt; the delta rule, gated by the learning-signal generator, then gives

.. math::
    \Delta w_{jd} = \sum_t G^t (1 - y^t) f_{jd}^t = \sum_t G^t f_{jd}^t \qquad (y^t = 0 \text{ with } w = 0)

so that a constant gate is prototype matching (Snell et al. 2017). A delay line is empty before the stream begins: :math:`f_{jd}^t = 0` for t < d.
"""

from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-6  # keeps the norm of an all-centred feature vector away from zero


class Source(NamedTuple):
    """One population that projects to the readout."""

    trace: Tensor  # [T, ..., J] centred low-passed spikes r - c
    gain: Tensor  # [D, J]


def low_pass(y: Tensor, kappa: Tensor | float) -> Tensor:
    """Low-pass spikes from rest: r^t = kappa r^{t-1} + (1 - kappa) y^t.

    Args:
        y: [T, ..., J].
        kappa: decay per step, a scalar.

    Returns:
        [T, ..., J]. Computed as one product with the filter's [T, T] matrix, which is what makes it quick to differentiate.
    """
    step = torch.arange(y.shape[0], device=y.device)
    lag = (step.unsqueeze(1) - step.unsqueeze(0)).to(y.dtype)
    decay = torch.as_tensor(kappa, dtype=y.dtype, device=y.device)
    kernel = torch.where(lag >= 0, (1 - decay) * decay ** lag.clamp_min(0), torch.zeros_like(lag))
    return (kernel @ y.reshape(y.shape[0], -1)).reshape(y.shape)


def shift(values: Tensor, steps: int) -> Tensor:
    """Delay a sequence.

    Args:
        values: [T, ...].
        steps: delay, >= 0.

    Returns:
        [T, ...], zeros in front.
    """
    if steps == 0:
        return values
    if steps >= values.shape[0]:
        return torch.zeros_like(values)
    return torch.cat([torch.zeros_like(values[:steps]), values[:-steps]])


def learn(sources: list[Source], gate: Tensor, delays: tuple[int, ...]) -> list[Tensor]:
    """Learn a word's readout weights from one utterance.

    Args:
        sources: traces [T, B, J] of the utterance and their gains.
        gate: [T, B] gate of the learning-signal generator.
        delays: in steps, D of them.

    Returns:
        Per source [B, D, J]; together they have norm 1 for each task.
    """
    weights = []
    for source in sources:
        per_delay = [torch.einsum("tb,tbj->bj", gate[d:], source.trace[: max(gate.shape[0] - d, 0)]) for d in delays]
        weights.append(torch.stack(per_delay, 1) * source.gain)
    norm = sum(w.square().sum((1, 2)) for w in weights)
    assert isinstance(norm, Tensor)
    scale = 1 / (norm + EPSILON).sqrt()
    return [w * scale[:, None, None] for w in weights]


def drive(source: Source, weights: Tensor, delays: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Sum one source's contribution to the score's numerator and to the squared norm of its features.

    Args:
        source: trace [T, B, Q, J], or [T, Q, J] when all tasks hear the same spikes.
        weights: [B, D, J].
        delays: in steps, D of them.

    Returns:
        Numerator [T, B, Q] and squared norm [T, B, Q] or [T, Q].
    """
    shared = source.trace.dim() == 3
    product = torch.einsum("tqj,bdj->tbqd" if shared else "tbqj,bdj->tbqd", source.trace, weights * source.gain)
    energy = source.trace.square() @ source.gain.square().T
    numerator = torch.stack([shift(product[..., k], d) for k, d in enumerate(delays)]).sum(0)
    norm = torch.stack([shift(energy[..., k], d) for k, d in enumerate(delays)]).sum(0)
    return numerator, norm


def score(sources: list[Source], weights: list[Tensor], delays: tuple[int, ...]) -> Tensor:
    """Score queries against words at every step.

    Args:
        sources: traces [T, B, Q, J] or [T, Q, J] (shared by the tasks), and gains.
        weights: per source [B, D, J], from `learn`.
        delays: in steps, D of them.

    Returns:
        [T, B, Q] in [-1, 1].
    """
    numerators, norms = zip(*(drive(s, w, delays) for s, w in zip(sources, weights, strict=True)), strict=True)
    norm = sum(n if n.dim() == 3 else n.unsqueeze(1) for n in norms)
    total = sum(numerators)
    assert isinstance(norm, Tensor)
    assert isinstance(total, Tensor)
    return total / (norm + EPSILON).sqrt()
