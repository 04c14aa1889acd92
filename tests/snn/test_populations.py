"""From primed tensors to the parameters of the three populations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snn.cells.adlif import AdlifParams
from snn.cells.alif import AlifParams
from snn.config import LearnerConfig
from snn.initialise import initial_weights
from snn.populations import cell_params, lsg_weights, without_autapses

PREFIXES = ("", "feature.")


def start(config: LearnerConfig) -> dict[str, Tensor]:
    return initial_weights(config, torch.full((config.inputs,), 0.2), 0)


@pytest.mark.parametrize("neurons", [1, 3, 8, 100, 256])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("cell", ["alif", "adlif"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_share_of_adaptive_neurons(neurons: int, fraction: float, cell: str, prefix: str) -> None:
    sizes: dict[str, Any] = {"features": (neurons,), "neurons": 5} if prefix else {"features": (5,), "neurons": neurons}
    config = LearnerConfig(inputs=2, step_ms=20, cell=cell, adaptive_fraction=fraction, **sizes)
    params = cell_params(config, start(config), prefix)
    strength = params.b if isinstance(params, AdlifParams) else params.beta
    assert len(strength) == neurons
    assert abs(int((strength > 0).sum()) - neurons * fraction) <= 0.5
    # Every stretch of the population, and so every layer, has its share.
    counts = torch.cat([torch.zeros(1), (strength > 0).cumsum(0)])
    assert (counts - torch.arange(neurons + 1) * fraction).abs().max() <= 0.5


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_neuron_that_does_not_adapt_has_no_adaptation_current(prefix: str) -> None:
    config = LearnerConfig(inputs=2, step_ms=20, cell="adlif", features=(6, 4), neurons=10, adaptive_fraction=0.3)
    params = cell_params(config, start(config) | {f"{prefix}a": torch.ones(10)}, prefix)
    assert isinstance(params, AdlifParams)
    assert torch.equal(params.a > 0, params.b > 0)
    assert int((params.a > 0).sum()) == 3


@pytest.mark.parametrize("prefix", PREFIXES)
def test_lif_never_adapts(prefix: str) -> None:
    config = LearnerConfig(inputs=2, step_ms=20, cell="lif", features=(10,), neurons=10)
    params = cell_params(config, start(config), prefix)
    assert isinstance(params, AlifParams)
    assert not params.beta.any()


@pytest.mark.parametrize("cell", ["alif", "adlif"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_adaptation_that_priming_made_negative_is_none(cell: str, prefix: str) -> None:
    config = LearnerConfig(inputs=2, step_ms=20, cell=cell, features=(3,), neurons=3)
    name = "b" if cell == "adlif" else "beta"
    params = cell_params(config, start(config) | {f"{prefix}{name}": torch.tensor([-1.0, 0.0, 2.0])}, prefix)
    assert (params.b if isinstance(params, AdlifParams) else params.beta).tolist() == [0, 0, 2]


@pytest.mark.parametrize("prefix", [*PREFIXES, "lsg."])
@pytest.mark.parametrize("name", ["membrane", "adaptation"])
def test_time_constants_become_decays_and_stay_in_range(prefix: str, name: str) -> None:
    config = LearnerConfig(inputs=2, step_ms=20, features=(3,), neurons=3, lsg_neurons=3)
    log_tau = torch.tensor([0.0, 40.0, 1e6]).log()  # ms; the first is not there at all
    weights = start(config) | {f"{prefix}log_tau_{name}": log_tau.clamp_min(-50)}
    params = lsg_weights(config, weights).cell if prefix == "lsg." else cell_params(config, weights, prefix)
    torch.testing.assert_close(params.alpha if name == "membrane" else params.rho, torch.tensor([-2.0, -0.5, -0.02]).exp())


def test_populations_have_parameters_of_their_own(make_learner: Callable[..., tuple[LearnerConfig, dict[str, Tensor]]]) -> None:
    config, weights = make_learner(1, features=(14,), neurons=14)
    learning, shared = cell_params(config, weights), cell_params(config, weights, "feature.")
    other = cell_params(config, weights | {"feature.log_tau_membrane": torch.zeros(14).double()})
    assert torch.equal(learning.alpha, other.alpha)
    assert not torch.equal(learning.alpha, shared.alpha)


@pytest.mark.parametrize("cell", ["lif", "alif", "adlif", "board"])
def test_the_generator_is_adlif_beside_any_cell(cell: str) -> None:
    config = LearnerConfig(inputs=2, step_ms=20, cell=cell, features=(3,), neurons=4, lsg_neurons=5)
    weights = lsg_weights(config, start(config))
    assert isinstance(weights.cell, AdlifParams)
    assert weights.cell.b.tolist() == [0.5] * 5


def test_without_autapses() -> None:
    w_rec = torch.arange(1.0, 9.0).reshape(2, 2, 2)
    assert without_autapses(w_rec).tolist() == [[[0, 2], [3, 0]], [[0, 6], [7, 0]]]
