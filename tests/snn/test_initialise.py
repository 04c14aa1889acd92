"""Step 0 of priming: the encoder's values, nearly by themselves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn import eprop, features, learner
from snn.config import LearnerConfig
from snn.initialise import DECODER_GAIN, GATE_CENTER_MS, initial_weights
from snn.lsg import MAX_LOG_GATE
from snn.readout import drive, low_pass

CONFIG = LearnerConfig(inputs=40, step_ms=40, features=(60,), neurons=30, lsg_neurons=16, projection=24)
RATE = torch.full((40,), 0.2)


def spikes(*shape: int, seed: int = 1) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.2).float()


def test_weights_follow_from_the_seed() -> None:
    weights, again, other = (initial_weights(CONFIG, RATE, seed) for seed in (0, 0, 1))
    assert {name: w.dtype for name, w in weights.items()} == dict.fromkeys(weights, torch.float32)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["w_in"], other["w_in"])


@pytest.mark.parametrize("layers", [(60,), (40, 30), (30, 20, 20)])
@pytest.mark.parametrize("cell", ["lif", "alif", "adlif", "board"])
def test_every_layer_fires_from_the_start(cell: str, layers: tuple[int, ...]) -> None:
    config = CONFIG.model_copy(update={"cell": cell, "features": layers})
    _, activity = features.hear(config, initial_weights(config, RATE, 0), spikes(40, 8, 40))
    for layer in activity.z.split(layers, -1):
        assert 0.02 < layer.mean() < 0.5


@pytest.mark.parametrize("cell", ["lif", "alif", "adlif", "board"])
def test_priming_starts_near_prototype_matching(cell: str) -> None:
    config = CONFIG.model_copy(update={"cell": cell})
    weights = initial_weights(config, RATE, 0)
    heard, _ = features.hear(config, weights, spikes(30, 5, 40))
    learnt, learning = learner.learn(config, weights, heard)
    assert learning is not None
    assert learning.activity.z.mean() < 0.3  # more often silent than not until a word is learnt, but with eligibility
    assert learning.activity.psi.mean() > 0.05
    change = weights["log_rate_in"].exp() * eprop.gradient(learnt.factor, learnt.presynaptic)
    assert 0 < change.norm(dim=(1, 2)).max() < 0.5 * weights["w_in"].norm()
    gate = learning.signals.gate
    torch.testing.assert_close(gate, gate[:, :1].expand_as(gate))  # the spikes do not gate yet
    fixed = config.model_copy(update={"plastic": False})
    queries, _ = features.hear(config, weights, spikes(30, 6, 40, seed=2))
    scores, _ = learner.respond(config, weights, learnt, queries)
    compared, _ = learner.respond(fixed, weights, learner.learn(fixed, weights, heard)[0], queries)
    added = scores - compared
    between_words = added - added.mean(1, keepdim=True)  # what the learning networks add to all words alike decides nothing
    assert between_words.abs().max() < 0.2 * compared.abs().max()


def test_every_step_is_as_salient_as_any_other_at_first() -> None:
    weights = initial_weights(CONFIG, RATE, 0)
    heard, _ = features.hear(CONFIG, weights, spikes(30, 40))
    received = drive(heard, *learner.readout_inputs(weights))
    torch.testing.assert_close(received, 0.5 * (heard - weights["center"]) @ weights["readout.project"].T)


def test_the_gate_is_a_bump_shortly_before_the_end() -> None:
    profile = initial_weights(CONFIG, RATE, 0)["lsg.profile"]
    before_end_ms = (len(profile) - 1 - int(profile.argmax())) * CONFIG.step_ms
    assert abs(before_end_ms - GATE_CENTER_MS) <= CONFIG.step_ms / 2
    assert profile.abs().max() < MAX_LOG_GATE  # inside the bound: a clamped entry has no gradient


@pytest.mark.parametrize("values", [1, 10, 24])
def test_with_a_decoder_the_first_readout_units_return_the_decoded_values(values: int) -> None:
    decoder = torch.randn(values, 40, generator=torch.Generator().manual_seed(5))
    weights = initial_weights(CONFIG, RATE, 0, decoder)
    scale = 2 * values**0.5 / DECODER_GAIN  # every step is salient by a half
    x = spikes(30, 3, 40)
    usual = weights["center"][40:].expand(30, 3, -1)  # features at their centre say nothing
    units = learner.readout_units(CONFIG, weights, torch.cat([x, usual], -1))
    decoded = low_pass(x @ decoder.T - decoder @ RATE, CONFIG.readout_kappa)
    torch.testing.assert_close(scale * units[..., :values], decoded, rtol=0, atol=1e-4)
    # With features that fire, still nearly so; and the other units are faint.
    units = learner.readout_units(CONFIG, weights, features.hear(CONFIG, weights, x)[0])
    error = (scale * units[..., :values] - decoded).square().mean().sqrt()
    assert error < 0.1 * values**0.5 * decoded.square().mean().sqrt()
    assert values == 24 or units[..., values:].std() < 0.2 * units[..., :values].std()


@settings(max_examples=20, deadline=None)
@given(projection=st.integers(1, 12), values=st.integers(1, 12), seed=st.integers(0, 100))
def test_a_decoder_of_any_size_fills_the_units_that_there_are(projection: int, values: int, seed: int) -> None:
    config = LearnerConfig(inputs=5, step_ms=40, features=(3,), neurons=2, lsg_neurons=2, projection=projection)
    decoder = torch.randn(values, 5, generator=torch.Generator().manual_seed(seed))
    rate = torch.full((5,), 0.2)
    decoding, random = initial_weights(config, rate, seed, decoder), initial_weights(config, rate, seed)
    rows = min(projection, values)
    assert decoding["readout.project"].shape == (projection, 8)
    torch.testing.assert_close(decoding["readout.project"][:rows, :5], DECODER_GAIN / values**0.5 * decoder[:rows])
    assert decoding["readout.project"][rows:].any(1).all()
    assert (decoding["readout.project"][rows:].abs() <= random["readout.project"][rows:].abs()).all()  # faint beside what is decoded
    assert all(torch.equal(decoding[name], random[name]) for name in random if name != "readout.project")
