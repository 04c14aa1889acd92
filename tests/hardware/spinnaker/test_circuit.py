"""What is put on a chip: the network of `snn`, in the board's units and precision."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hardware import BackendError
from hardware.spinnaker.circuit import FEATURES, INPUT, Circuit, Population, cell_parameters, circuit, quantised, word_name
from snn.cells.board import BoardParams
from snn.config import LearnerConfig

Primed = tuple[LearnerConfig, dict[str, Tensor]]
MakePrimed = Callable[..., Primed]


def untaught(weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(weights["w_in"]), torch.zeros_like(weights["w_rec"])


def test_it_holds_the_network_and_its_changes(make_primed: MakePrimed) -> None:
    config, weights = make_primed(1, cell="board", features=(10, 6))
    changes = [untaught(weights), (torch.full((16, 18), 0.25), torch.full((16, 16), -0.5))]
    found = circuit(config, weights, changes)
    assert (found.inputs, found.step_ms, found.words) == (12, 40.0, [word_name(0), word_name(1)])
    assert set(found.populations[FEATURES].weights) == {INPUT, FEATURES}
    for number, (change_in, change_rec) in enumerate(changes):
        word = found.populations[word_name(number)]
        w_in = (weights["w_in"] + change_in).numpy()
        np.testing.assert_allclose(word.weights[INPUT], w_in[:, :12], rtol=0, atol=1e-7)
        np.testing.assert_allclose(word.weights[FEATURES][:, 10:], w_in[:, 12:], rtol=0, atol=1e-7)
        assert not word.weights[FEATURES][:, :10].any()  # the first layer is not heard
        own = word.weights[word_name(number)]
        assert not own.diagonal().any()
        off = ~np.eye(16, dtype=bool)
        np.testing.assert_allclose(own[off], (weights["w_rec"] + change_rec).numpy()[off], rtol=0, atol=1e-7)


def test_currents_enter_a_board_s_membrane_with_gain_one(make_primed: MakePrimed) -> None:
    config, weights = make_primed(1, cell="board")
    population = circuit(config, weights, []).populations[FEATURES]
    found: dict[str, Any] = cell_parameters(population)
    alpha = np.exp(-1 / found["tau_m"])
    np.testing.assert_allclose(alpha, population.params.alpha.numpy(), rtol=1e-12)
    np.testing.assert_allclose(found["tau_m"] / found["cm"] * (1 - alpha), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(-1 / found["tau_ca2"]), population.params.rho.numpy(), rtol=1e-12)
    assert found["i_alpha"] == pytest.approx(0.3 * np.ones(10))
    np.testing.assert_array_equal(found["i_offset"], weights["feature.bias"].double().numpy())
    assert (found["v_rest"], found["v_reset"], found["v_thresh"], found["tau_refrac"]) == (0, 0, 1, 0)


@pytest.mark.parametrize("cell", ["lif", "alif", "adlif"])
def test_another_cell_is_refused_by_name(make_primed: MakePrimed, cell: str) -> None:
    with pytest.raises(BackendError, match=f"'{cell}'.*--model board"):
        circuit(*make_primed(1, cell=cell), [])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), scale=st.floats(1e-3, 30.0), neurons=st.integers(1, 6), inputs=st.integers(1, 40))
def test_quantised_weights_are_near_and_of_the_same_sign(seed: int, scale: float, neurons: int, inputs: int) -> None:
    rng = np.random.default_rng(seed)
    one = torch.full((neurons,), 0.5, dtype=torch.float64)
    weights = {INPUT: rng.normal(0, scale, (neurons, inputs)), "own": rng.normal(0, scale, (neurons, neurons))}
    ideal = Circuit(inputs, 40.0, {"own": Population(BoardParams(one, one, one), one.numpy(), weights)})
    held = quantised(ideal).populations["own"]
    for source, matrix in weights.items():
        for sign, bound in zip((1, -1), ideal.populations["own"].bounds, strict=True):
            part, kept = np.maximum(sign * matrix, 0), np.maximum(sign * held.weights[source], 0)
            grid = 2.0 ** max(0, np.frexp(bound)[1]) / 2**15
            assert np.abs(part - kept).max() <= grid / 2 * (1 + 1e-12)
            np.testing.assert_array_equal(np.rint(kept / grid), kept / grid)
