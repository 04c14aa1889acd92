"""The feature population: what the rest of the network hears of it, and which of its synapses exist."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snn import features, network
from snn.config import LearnerConfig
from snn.populations import cell_params

Learner = tuple[LearnerConfig, dict[str, Tensor]]
MakeLearner = Callable[..., Learner]
SETTINGS: list[dict[str, Any]] = [
    {"cell": "adlif"},
    {"cell": "board"},
    {"cell": "alif", "features": (8, 6)},
    {"cell": "lif", "features": (6, 5, 3)},
    {"cell": "adlif", "adaptive_fraction": 0.5, "features": (9, 5)},
]


def spikes(steps: int, batch: tuple[int, ...], seed: int) -> Tensor:
    return (torch.rand(steps, *batch, 10, generator=torch.Generator().manual_seed(seed)) < 0.3).double()


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_inputs_now_and_the_last_layer_a_step_later_are_heard(make_learner: MakeLearner, settings: dict[str, Any]) -> None:
    config, weights = make_learner(1, **settings)
    x = spikes(30, (2,), 1)
    heard, activity = features.hear(config, weights, x)
    last = config.features[-1]
    assert heard.shape == (30, 2, config.heard) == (30, 2, 10 + last)
    assert activity.z.shape == (30, 2, sum(config.features))
    assert torch.equal(heard[..., :10], x)
    assert not heard[0, :, 10:].any()
    assert torch.equal(heard[1:, :, 10:], activity.z[:-1, :, -last:])
    assert 0.02 < heard[..., 10:].mean() < 0.7


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_population_step_by_step(make_learner: MakeLearner, settings: dict[str, Any]) -> None:
    """Each layer by itself: the first hears the input, the others the layer before them a step later."""
    config, weights = make_learner(2, **settings)
    x = spikes(25, (), 2)
    _, activity = features.hear(config, weights, x)
    params = cell_params(config, weights, "feature.")
    first = 0
    for k, size in enumerate(config.features):
        layer = slice(first, first + size)
        current = weights["feature.bias"][layer].expand(25, -1)
        if k == 0:
            current = current + x @ weights["feature.w_in"][layer].T
        else:
            before = slice(first - config.features[k - 1], first)
            current = current + network.delayed(activity.z[:, before]) @ weights["feature.w_rec"][layer, before].T
        own = weights["feature.w_rec"][layer, layer].clone().fill_diagonal_(0)
        own_neurons: dict[str, Any] = {name: value[layer] for name, value in params._asdict().items() if isinstance(value, Tensor)}
        alone = params._replace(**own_neurons)
        assert torch.equal(network.run(current, own, alone).z, activity.z[:, layer])
        first += size


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_batch_of_one_equals_a_batch_of_many(make_learner: MakeLearner, settings: dict[str, Any]) -> None:
    config, weights = make_learner(3, **settings)
    x = spikes(25, (3, 2), 3)
    together, _ = features.hear(config, weights, x)
    for b in range(3):
        for q in range(2):
            assert torch.equal(features.hear(config, weights, x[:, b, q])[0], together[:, b, q])
            assert torch.equal(features.hear(config, weights, x[:, b : b + 1, q])[0][:, 0], together[:, b, q])


@pytest.mark.parametrize("layers", [(12,), (8, 6), (5, 4, 3)])
def test_no_autapses_and_no_synapses_outside_the_chain(make_learner: MakeLearner, layers: tuple[int, ...]) -> None:
    config, weights = make_learner(4, features=layers)
    mask_in, mask_rec = network.masks(layers, config.inputs, torch.float64)
    w_in, w_rec = features.masked(config, weights)
    assert torch.equal(w_in, weights["feature.w_in"] * mask_in)
    assert torch.equal(w_rec, weights["feature.w_rec"] * mask_rec)
    assert not w_rec.diagonal().any()
    outside = {"feature.w_in": weights["feature.w_in"] + 50 * (1 - mask_in), "feature.w_rec": weights["feature.w_rec"] + 50 * (1 - mask_rec)}
    x = spikes(20, (2,), 1)
    assert torch.equal(features.hear(config, weights, x)[0], features.hear(config, weights | outside, x)[0])


@pytest.mark.parametrize("moment", [0, 7, 19])
def test_what_is_heard_depends_on_the_past_only(make_learner: MakeLearner, moment: int) -> None:
    config, weights = make_learner(5)
    x, other = spikes(20, (), 1), spikes(20, (), 2)
    changed = torch.cat([x[: moment + 1], other[moment + 1 :]])
    a, b = features.hear(config, weights, x)[0], features.hear(config, weights, changed)[0]
    assert torch.equal(a[: moment + 1], b[: moment + 1])
    assert moment == 19 or not torch.equal(a, b)


def test_the_population_does_not_look_at_the_rest_of_the_network(make_learner: MakeLearner) -> None:
    config, weights = make_learner(6)
    x = spikes(20, (2,), 1)
    other = {name: w if name.startswith("feature.") else w + 1 for name, w in weights.items()}
    assert torch.equal(features.hear(config, weights, x)[0], features.hear(config, other, x)[0])
