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


def test_drive_by_hand() -> None:
    heard = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    project, center = torch.tensor([[2.0, 0.0], [1.0, 4.0], [0.0, 1.0]]).double(), torch.tensor([0.5, 0.25]).double()
    salience, bias = torch.tensor([1.0, -1.0]).double(), torch.tensor(1.0).double()
    received = readout.drive(heard, project, center, salience, bias)
    # sigma(2) and sigma(0) times P (h - c), with h - c = (0.5, -0.25) and (-0.5, 0.75)
    expected = torch.tensor([[1.0, -0.5, -0.25], [-1.0, 2.5, 0.75]]).double() * torch.tensor([[1 / (1 + np.exp(-2))], [0.5]])
    torch.testing.assert_close(received, expected, rtol=0, atol=1e-14)


def test_steps_without_salience_do_not_count() -> None:
    heard, project, center = normal(20, 5, seed=1).sigmoid(), normal(4, 5, seed=2), normal(5, seed=3).sigmoid()
    silenced = readout.drive(heard, project, center, torch.zeros(5).double(), torch.tensor(-60.0).double())
    full = readout.drive(heard, project, center, torch.zeros(5).double(), torch.tensor(60.0).double())
    assert silenced.abs().max() < 1e-20
    torch.testing.assert_close(full, (heard - center) @ project.T, rtol=0, atol=1e-14)


def features(units: NDArray[np.float64], gain: NDArray[np.float64], t: int) -> NDArray[np.float64]:
    """Features [D, K] of one sequence at step t; a delay line is empty before the stream begins."""
    return np.stack([gain[k] * units[t - d] if t >= d else 0 * units[0] for k, d in enumerate(DELAYS)])


@pytest.mark.parametrize("steps", [1, 3, 4, 12])  # shorter than the longest delay, too
def test_learn_equals_the_sum_over_steps(steps: int) -> None:
    units, gain, gate = normal(steps, 2, 4, seed=1), normal(3, 4, seed=3), normal(steps, 2, seed=5).exp()
    weights = readout.learn(units, gain, gate, DELAYS)
    assert weights.shape == (2, 3, 4)
    for b in range(2):
        total = np.sum([gate[t, b].item() * features(units[:, b].numpy(), gain.numpy(), t) for t in range(steps)], axis=0)
        np.testing.assert_allclose(weights[b].numpy(), total / np.sqrt((total**2).sum() + readout.EPSILON), rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 3, 4, 12])
def test_score_equals_an_explicit_cosine_at_every_step(steps: int) -> None:
    units, gain = normal(steps, 5, 4, seed=7), normal(3, 4, seed=3)
    weights = readout.learn(normal(9, 2, 4, seed=4), gain, torch.ones(9, 2).double(), DELAYS)
    scores = readout.score(units, gain, weights, DELAYS)
    assert scores.shape == (steps, 2, 5)
    for t in range(steps):
        for b in range(2):
            for q in range(5):
                f = features(units[:, q].numpy(), gain.numpy(), t)
                expected = (weights[b].numpy() * f).sum() / np.sqrt((f**2).sum() + readout.EPSILON)
                assert scores[t, b, q].item() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 12), size=st.floats(0, 1e3), seed=st.integers(0, 1000))
def test_scores_are_cosines_whatever_the_size_of_the_units(steps: int, size: float, seed: int) -> None:
    gain = normal(3, 4, seed=seed)
    weights = readout.learn(size * normal(9, 2, 4, seed=seed + 1), gain, torch.ones(9, 2).double(), DELAYS)
    assert weights.square().sum((-2, -1)).max() <= 1
    scores = readout.score(size * normal(steps, 5, 4, seed=seed + 2), gain, weights, DELAYS)
    assert scores.isfinite().all()
    assert scores.abs().max() <= 1


@pytest.mark.parametrize("moment", [0, 4, 10])
def test_scores_depend_on_the_past_only(moment: int) -> None:
    units, other, gain = normal(12, 5, 4, seed=7), normal(12, 5, 4, seed=8), normal(3, 4, seed=3)
    weights = readout.learn(normal(9, 2, 4, seed=4), gain, torch.ones(9, 2).double(), DELAYS)
    changed = torch.cat([units[: moment + 1], other[moment + 1 :]])
    a, b = readout.score(units, gain, weights, DELAYS), readout.score(changed, gain, weights, DELAYS)
    assert torch.equal(a[: moment + 1], b[: moment + 1])
    assert not torch.equal(a, b)


def test_what_was_learnt_is_compared_through_the_metric() -> None:
    words, metric = readout.normalised(normal(2, 3, 4, seed=1)), normal(12, 12, seed=2)
    found = readout.compared(words, metric)
    for w in range(2):
        expected = words[w].reshape(-1).numpy() @ metric.numpy()
        np.testing.assert_allclose(found[w].reshape(-1).numpy(), expected / np.linalg.norm(expected), rtol=1e-6)
    assert readout.compared(words, None) is words
    torch.testing.assert_close(readout.compared(words, torch.eye(12).double()), words, rtol=0, atol=1e-6)


def test_normalised_weights_have_norm_one_and_nothing_stays_nothing() -> None:
    weights = torch.stack([normal(3, 4, seed=1), 50 * normal(3, 4, seed=2), torch.zeros(3, 4).double()])
    scaled = readout.normalised(weights)
    norms = scaled.square().sum((-2, -1)).sqrt().tolist()
    assert norms == pytest.approx([1, 1, 0], abs=1e-6)
    torch.testing.assert_close(scaled[0] * weights[0].norm(), weights[0], rtol=1e-6, atol=0)


def test_words_learnt_beside_each_other_do_not_mix() -> None:
    units, gain, gate = normal(9, 3, 4, seed=4), normal(3, 4, seed=3), normal(9, 3, seed=5).exp()
    together = readout.learn(units, gain, gate, DELAYS)
    torch.testing.assert_close(readout.learn(units[:, 1:2], gain, gate[:, 1:2], DELAYS)[0], together[1], rtol=0, atol=1e-14)
    queries = normal(8, 5, 4, seed=6)
    scores = readout.score(queries, gain, together, DELAYS)
    torch.testing.assert_close(readout.score(queries[:, 2:3], gain, together[1:2], DELAYS)[:, 0, 0], scores[:, 1, 2], rtol=0, atol=1e-14)


def test_a_word_scores_one_against_itself_and_never_more() -> None:
    units, gain = normal(1, 1, 6, seed=1), normal(1, 6, seed=3)
    weights = readout.learn(units, gain, torch.ones(1, 1).double(), (0,))
    assert readout.score(units, gain, weights, (0,)).item() == pytest.approx(1, abs=1e-5)
    others = readout.score(normal(50, 1, 6, seed=2), gain, weights, (0,))
    assert others.abs().max() < 1


def test_a_constant_gate_is_prototype_matching() -> None:
    gain, units = torch.ones(1, 6, dtype=torch.float64), normal(11, 2, 6, seed=1)
    weights = readout.learn(units, gain, torch.full((11, 2), 3.0).double(), (0,))
    prototype = units.mean(0)
    torch.testing.assert_close(weights[:, 0], prototype / prototype.norm(dim=1, keepdim=True), rtol=1e-5, atol=1e-6)
