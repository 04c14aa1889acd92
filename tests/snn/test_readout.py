"""The readout against explicit sums, step by step."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from snn import readout

DELAYS = (0, 2, 5)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 60), kappa=st.floats(0, 0.999), seed=st.integers(0, 100))
def test_low_pass_equals_the_recursion(make_spikes: Callable[..., Tensor], steps: int, kappa: float, seed: int) -> None:
    y = make_spikes(steps, 2, 3, rate=0.4, rng=torch.Generator().manual_seed(seed))
    filtered = readout.low_pass(y, kappa)
    state = torch.zeros(2, 3, dtype=torch.float64)
    for t in range(steps):
        state = kappa * state + (1 - kappa) * y[t]
        torch.testing.assert_close(filtered[t], state, rtol=0, atol=1e-12)


def test_low_pass_by_hand() -> None:
    y = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
    assert readout.low_pass(y, 0.5).flatten().tolist() == [0.5, 0.25, 0.625]


@pytest.mark.parametrize(("steps", "expected"), [(0, [1, 2, 3]), (1, [0, 1, 2]), (3, [0, 0, 0]), (7, [0, 0, 0])])
def test_shift(steps: int, expected: list[int]) -> None:
    assert readout.shift(torch.tensor([1, 2, 3]), steps).tolist() == expected


def features(trace: NDArray[np.float64], gain: NDArray[np.float64], t: int) -> NDArray[np.float64]:
    """Features [D, J] of one sequence at step t; a delay line is empty before the stream begins."""
    return np.stack([gain[k] * trace[t - d] if t >= d else 0 * trace[0] for k, d in enumerate(DELAYS)])


@pytest.mark.parametrize("steps", [1, 3, 4, 12])  # shorter than the longest delay, too
def test_learn_equals_the_sum_over_steps(steps: int) -> None:
    traces, gains = [normal(steps, 2, 4, seed=1), normal(steps, 2, 3, seed=2)], [normal(3, 4, seed=3), normal(3, 3, seed=4)]
    gate = normal(steps, 2, seed=5).exp()
    weights = readout.learn([readout.Source(*pair) for pair in zip(traces, gains, strict=True)], gate, DELAYS)
    assert [tuple(w.shape) for w in weights] == [(2, 3, 4), (2, 3, 3)]
    for b in range(2):
        sums = [
            np.sum([gate[t, b].item() * features(trace[:, b].numpy(), gain.numpy(), t) for t in range(steps)], axis=0)
            for trace, gain in zip(traces, gains, strict=True)
        ]
        norm = np.sqrt(sum((s**2).sum() for s in sums) + readout.EPSILON)
        for w, s in zip(weights, sums, strict=True):
            np.testing.assert_allclose(w[b].numpy(), s / norm, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 3, 4, 12])
def test_score_equals_an_explicit_cosine_at_every_step(steps: int) -> None:
    gains = [normal(3, 4, seed=3), normal(3, 3, seed=4)]
    traces = [normal(steps, 2, 5, 4, seed=6), normal(steps, 5, 3, seed=7)]  # a source per task, and one that all tasks share
    weights = readout.learn(
        [readout.Source(normal(9, 2, j, seed=j), g) for j, g in zip((4, 3), gains, strict=True)], torch.ones(9, 2).double(), DELAYS
    )
    scores = readout.score([readout.Source(t, g) for t, g in zip(traces, gains, strict=True)], weights, DELAYS)
    assert scores.shape == (steps, 2, 5)
    for t in range(steps):
        for b in range(2):
            for q in range(5):
                f = [features(traces[0][:, b, q].numpy(), gains[0].numpy(), t), features(traces[1][:, q].numpy(), gains[1].numpy(), t)]
                numerator = sum((w[b].numpy() * part).sum() for w, part in zip(weights, f, strict=True))
                norm = np.sqrt(sum((part**2).sum() for part in f) + readout.EPSILON)
                assert scores[t, b, q].item() == pytest.approx(numerator / norm, abs=1e-12)


def test_shared_spikes_score_like_copies_of_them() -> None:
    gain, trace = normal(3, 4, seed=3), normal(8, 5, 4, seed=6)
    weights = readout.learn([readout.Source(normal(9, 2, 4, seed=1), gain)], torch.ones(9, 2).double(), DELAYS)
    shared = readout.score([readout.Source(trace, gain)], weights, DELAYS)
    copied = readout.score([readout.Source(trace.unsqueeze(1).expand(-1, 2, -1, -1), gain)], weights, DELAYS)
    torch.testing.assert_close(shared, copied, rtol=0, atol=1e-12)


def test_a_word_scores_one_against_itself_and_never_more() -> None:
    gain, trace = normal(1, 6, seed=3), normal(1, 1, 6, seed=1)
    weights = readout.learn([readout.Source(trace, gain)], torch.ones(1, 1).double(), (0,))
    assert readout.score([readout.Source(trace, gain)], weights, (0,)).item() == pytest.approx(1, abs=1e-5)
    others = readout.score([readout.Source(normal(50, 1, 6, seed=2), gain)], weights, (0,))
    assert others.abs().max() < 1


def test_a_constant_gate_is_prototype_matching() -> None:
    gain, trace = torch.ones(1, 6, dtype=torch.float64), normal(11, 2, 6, seed=1)
    (weights,) = readout.learn([readout.Source(trace, gain)], torch.full((11, 2), 3.0).double(), (0,))
    prototype = trace.mean(0)
    torch.testing.assert_close(weights[:, 0], prototype / prototype.norm(dim=1, keepdim=True), rtol=1e-5, atol=1e-6)
