r"""The readout of an enrolled word: projected, time-resolved, normalised, and plastic.

K leaky readout units, primed and shared by all words, see what the learning network hears (`snn.features`), centred, weighted by its salience a and
low-passed. Each reaches the word's score over several delays d, so that the beginning, the middle and the end of a word arrive together at its end:

.. math::
    y_k^t = \kappa y_k^{t-1} + (1-\kappa)\, a^t \sum_i P_{ki} (h_i^t - c_i), \qquad a^t = \sigma\Big(\sum_i u_i h_i^t + u_0\Big), \qquad
    f_{kd}^t = \gamma_{kd}\, y_k^{t-d}

.. math::
    s^t = \frac{\sum_{kd} w_{kd} f_{kd}^t}{\lVert w \rVert\, \lVert f^t \rVert} + \sum_j v_j \bar z_j^t

:math:`P, c, u, \gamma, v` are primed; :math:`\bar z` are the low-passed spikes of the word's own learning network. w is zero until a word is learnt;
the delta rule, gated by the learning-signal generator, then gives

.. math::
    \Delta w_{kd} = \sum_t G^t (1 - y^t) f_{kd}^t = \sum_t G^t f_{kd}^t \qquad (y^t = 0 \text{ with } w = 0)

so that a constant gate is prototype matching (Snell et al. 2017). A delay line is empty before the stream begins: :math:`f_{kd}^t = 0` for t < d.

The score compares with :math:`M w` in place of w where a learner has a **metric**, the matrix M that all words share: a learned preconditioner of the
inner update (Park & Oliva 2019). It starts as the identity and is primed; at the end of priming it is multiplied by
:math:`(I + \eta C)^{-1}`, C the covariance of f in continuous sound (`priming.whitening`), which makes the comparison the matched filter of a known
signal in coloured noise (Turin 1960): what a word has in common with everything that is said counts less.

The projection matters: thermometer codes compare by how many thresholds two values pass together, which weighs a loud difference like a faint one.
P starts as the code's linear decoder, which gives the encoder's own values back. The salience matters because the rooms of two speakers differ:
frames of background would otherwise count in the comparison like frames of speech.
"""

import torch
from torch import Tensor

from snn.precision import product

EPSILON = 1e-6  # keeps the norm of an all-centred feature vector away from zero


def low_pass(y: Tensor, kappa: Tensor | float) -> Tensor:
    """Low-pass a sequence from rest: r^t = kappa r^{t-1} + (1 - kappa) y^t.

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


def normalised(weights: Tensor) -> Tensor:
    """Scale a word's readout weights [..., D, K] to norm 1."""
    return weights / (weights.square().sum((-2, -1), keepdim=True) + EPSILON).sqrt()


def compared(learnt: Tensor, metric: Tensor | None) -> Tensor:
    """Turn what words learnt into what their scores compare with: M w of norm 1.

    Args:
        learnt: w [..., D, K] of norm 1.
        metric: M [D K, D K], acting on rows; the identity when None.

    Returns:
        [..., D, K] of norm 1.
    """
    return learnt if metric is None else normalised((learnt.flatten(-2) @ metric).reshape(learnt.shape))


def drive(heard: Tensor, project: Tensor, center: Tensor, salience: Tensor, salience_bias: Tensor) -> Tensor:
    """Sum what the readout units receive at every step.

    Args:
        heard: h [..., H].
        project: P [K, H].
        center: c [H].
        salience: u [H].
        salience_bias: u_0, a scalar.

    Returns:
        [..., K].
    """
    return torch.sigmoid(heard @ salience + salience_bias).unsqueeze(-1) * product(heard - center, project.T)


def learn(units: Tensor, gain: Tensor, gate: Tensor, delays: tuple[int, ...]) -> Tensor:
    """Learn a word's readout weights from one utterance.

    Args:
        units: y [T, B, K] of the utterance.
        gain: gamma [D, K].
        gate: [T, B] gate of the learning-signal generator.
        delays: in steps, D of them.

    Returns:
        [B, D, K] of norm 1.
    """
    per_delay = [torch.einsum("tb,tbk->bk", gate[d:], units[: max(gate.shape[0] - d, 0)]) for d in delays]
    return normalised(torch.stack(per_delay, 1) * gain)


def score(units: Tensor, gain: Tensor, weights: Tensor, delays: tuple[int, ...]) -> Tensor:
    """Compare queries with words at every step: the first term of the score.

    Args:
        units: y [T, Q, K] of the queries.
        gain: gamma [D, K].
        weights: [B, D, K] of norm 1, from `compared`.
        delays: in steps, D of them.

    Returns:
        [T, B, Q] in [-1, 1].
    """
    compared = torch.einsum("tqk,bdk->tbqd", units, weights * gain)
    energy = units.square() @ gain.square().T  # [T, Q, D]
    numerator = torch.stack([shift(compared[..., k], d) for k, d in enumerate(delays)]).sum(0)
    norm = torch.stack([shift(energy[..., k], d) for k, d in enumerate(delays)]).sum(0)
    return numerator / (norm.unsqueeze(1) + EPSILON).sqrt()
