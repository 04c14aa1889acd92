"""The one-shot learner: batching, the update that is applied, what adapts, and the outer gradient."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from snn import eprop, learner, network, readout
from snn.cells.adlif import AdlifParams
from snn.cells.alif import AlifParams
from snn.initialise import initial_weights
from snn.learner import LearnerConfig

Learner = tuple[LearnerConfig, dict[str, Tensor]]
MakeLearner = Callable[..., Learner]
SETTINGS: list[dict[str, Any]] = [
    {"cell": "adlif"},
    {"cell": "alif", "groups": (8, 6)},
    {"cell": "lif", "groups": (6, 5, 3), "readout_sees_input": False},
    {"cell": "adlif", "adaptive_fraction": 0.5, "groups": (9, 5), "delays_ms": (0.0, 2000.0)},  # a delay longer than the utterance
]


def hear(steps: int, batch: int, seed: int, rate: float = 0.3) -> Tensor:
    return (torch.rand(steps, batch, 10, generator=torch.Generator().manual_seed(seed)) < rate).double()


@pytest.mark.parametrize("settings", SETTINGS)
def test_learning_one_word_equals_learning_it_beside_others(make_learner: MakeLearner, settings: dict[str, Any]) -> None:
    config, weights = make_learner(1, **settings)
    x = hear(25, 4, 1)
    together, activity, signals = learner.learn(config, weights, x)
    assert activity.z.sum() > 0
    assert together.factor.abs().max() > 0
    for b in range(4):
        alone, one_activity, one_signals = learner.learn(config, weights, x[:, b : b + 1])
        assert torch.equal(one_activity.z[:, 0], activity.z[:, b])
        assert torch.equal(alone.recurrent[:, 0], together.recurrent[:, b])
        torch.testing.assert_close(one_signals.learning[:, 0], signals.learning[:, b], rtol=0, atol=1e-12)
        torch.testing.assert_close(alone.factor[:, 0], together.factor[:, b], rtol=0, atol=1e-12)
        for one, many in zip(alone.readout, together.readout, strict=True):
            torch.testing.assert_close(one[0], many[b], rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_word_answers_every_query_as_if_they_were_alone(make_learner: MakeLearner, settings: dict[str, Any]) -> None:
    """The reference builds each word's weights and runs its network on each query by itself."""
    config, weights = make_learner(2, **settings)
    learnt, _, _ = learner.learn(config, weights, hear(25, 3, 1))
    queries = hear(18, 4, 2)
    scores, activity = learner.respond(config, weights, learnt, queries)
    assert scores.shape == (18, 3, 4)
    assert activity.z.shape == (18, 3, 4, config.neurons)
    mask_in, mask_rec = network.masks(config.groups, config.inputs, torch.float64)
    params = learner.cell_params(config, weights)
    changed = 0.0
    for b in range(3):
        change_in = -weights["log_rate_in"].exp() * eprop.gradient(learnt.factor[:, b], learnt.inputs[:, b])
        change_rec = -weights["log_rate_rec"].exp() * eprop.gradient(learnt.factor[:, b], learnt.recurrent[:, b])
        w_in, w_rec = (weights["w_in"] + change_in) * mask_in, (weights["w_rec"] + change_rec) * mask_rec
        changed += (change_in * mask_in).abs().max().item()
        for q in range(4):
            run = network.run(network.project(queries[:, q], w_in) + weights["bias"], w_rec, params)
            torch.testing.assert_close(run.z, activity.z[:, b, q], rtol=0, atol=0)
            found = learner.sources(config, weights, queries[:, q][:, None, None], run.z[:, None, None])
            one = readout.score(found, [w[b : b + 1] for w in learnt.readout], config.delays)
            torch.testing.assert_close(one[:, 0, 0], scores[:, b, q], rtol=0, atol=1e-11)
    assert changed > 0.01


def test_words_have_their_own_networks(make_learner: MakeLearner) -> None:
    config, weights = make_learner(2)
    weights["log_rate_in"] = weights["log_rate_in"] + 2
    learnt, _, _ = learner.learn(config, weights, hear(25, 2, 1))
    _, activity = learner.respond(config, weights, learnt, hear(18, 3, 2))
    assert not torch.equal(activity.z[:, 0], activity.z[:, 1])


def test_without_plasticity_one_run_serves_every_word(make_learner: MakeLearner) -> None:
    config, weights = make_learner(3)
    x, queries = hear(20, 3, 1), hear(15, 2, 2)
    fixed = config.model_copy(update={"plastic": False})
    learnt, _, _ = learner.learn(fixed, weights, x)
    assert not learnt.factor.any()
    per_word, activity = learner.respond(fixed, weights, learnt, queries)
    shared, one_run = learner.respond_shared(fixed, weights, learnt, queries)
    assert torch.equal(activity.z, one_run.z.unsqueeze(1).expand_as(activity.z))
    torch.testing.assert_close(per_word, shared, rtol=0, atol=1e-12)
    still = weights | {"log_rate_in": torch.tensor(-800.0).double(), "log_rate_rec": torch.tensor(-800.0).double()}
    scores, _ = learner.respond(config, still, learner.learn(config, still, x)[0], queries)
    torch.testing.assert_close(scores, shared, rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [(14,), (8, 6)])
def test_no_autapses_and_no_synapses_outside_the_chain(make_learner: MakeLearner, groups: tuple[int, ...]) -> None:
    config, weights = make_learner(4, groups=groups)
    mask_in, mask_rec = network.masks(groups, config.inputs, torch.float64)
    other = weights | {"w_in": weights["w_in"] + 50 * (1 - mask_in), "w_rec": weights["w_rec"] + 50 * (1 - mask_rec)}
    x, queries = hear(20, 2, 1), hear(15, 3, 2)
    results = [learner.respond(config, w, learner.learn(config, w, x)[0], queries)[0] for w in (weights, other)]
    assert torch.equal(*results)


@pytest.mark.parametrize("neurons", [1, 3, 8, 100, 256])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("cell", ["alif", "adlif"])
def test_the_share_of_adaptive_neurons(neurons: int, fraction: float, cell: str) -> None:
    config = LearnerConfig(inputs=2, step_ms=20, cell=cell, groups=(neurons,), adaptive_fraction=fraction)
    params = learner.cell_params(config, initial_weights(config, torch.full((2,), 0.2), 0))
    strength = params.b if isinstance(params, AdlifParams) else params.beta
    assert abs(int((strength > 0).sum()) - neurons * fraction) <= 0.5
    # Every stretch of the population, and so every group of a chain, has its share.
    counts = torch.cat([torch.zeros(1), (strength > 0).cumsum(0)])
    assert (counts - torch.arange(neurons + 1) * fraction).abs().max() <= 0.5


def test_a_neuron_that_does_not_adapt_has_no_adaptation_current() -> None:
    config = LearnerConfig(inputs=2, step_ms=20, groups=(10,), adaptive_fraction=0.3)
    weights = initial_weights(config, torch.full((2,), 0.2), 0) | {"a": torch.ones(10)}
    params = learner.cell_params(config, weights)
    assert isinstance(params, AdlifParams)
    assert torch.equal(params.a > 0, params.b > 0)
    assert int((params.a > 0).sum()) == 3


def test_lif_never_adapts() -> None:
    config = LearnerConfig(inputs=2, step_ms=20, cell="lif", groups=(10,))
    params = learner.cell_params(config, initial_weights(config, torch.full((2,), 0.2), 0))
    assert isinstance(params, AlifParams)
    assert not params.beta.any()


def test_time_constants_become_decays_and_stay_in_range() -> None:
    config = LearnerConfig(inputs=2, step_ms=20, groups=(3,))
    log_tau = torch.tensor([0.0, 40.0, 1e6]).log()  # ms; the first is not there at all
    weights = initial_weights(config, torch.full((2,), 0.2), 0) | {"log_tau_membrane": log_tau.clamp_min(-50)}
    alpha = learner.cell_params(config, weights).alpha
    torch.testing.assert_close(alpha, torch.tensor([-2.0, -0.5, -0.02]).exp())


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": ()},
        {"groups": (3, 0)},
        {"delays_ms": ()},
        {"delays_ms": (-20.0,)},
        {"adaptive_fraction": 1.5},
        {"cell": "izhikevich"},
        {"inputs": 0},
        {"step_ms": 0},
        {"unknown": 1},
    ],
)
def test_configurations_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LearnerConfig(**({"inputs": 4, "step_ms": 20.0} | wrong))


def test_priming_starts_near_prototype_matching() -> None:
    config = LearnerConfig(inputs=40, step_ms=40, groups=(60,), lsg_neurons=16)
    weights = initial_weights(config, torch.full((40,), 0.2), 0)
    assert {name: w.dtype for name, w in weights.items()} == dict.fromkeys(weights, torch.float32)
    again = initial_weights(config, torch.full((40,), 0.2), 0)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    x = (torch.rand(30, 5, 40, generator=torch.Generator().manual_seed(1)) < 0.2).float()
    learnt, activity, signals = learner.learn(config, weights, x)
    assert 0.02 < activity.z.mean() < 0.5
    change = learnt.rate_in * eprop.gradient(learnt.factor, learnt.inputs)
    assert 0 < change.norm(dim=(1, 2)).max() < 0.3 * weights["w_in"].norm()
    torch.testing.assert_close(signals.gate, signals.gate[:, :1].expand_as(signals.gate))  # the spikes do not gate yet


# ---- the outer gradient -------------------------------------------------------------------------------------------------------------------------


def leaves(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: w.clone().requires_grad_() for name, w in weights.items()}


@pytest.mark.parametrize("cell", ["lif", "alif", "adlif"])
def test_the_outer_gradient_reaches_every_weight(make_learner: MakeLearner, cell: str) -> None:
    config, primed = make_learner(5, cell=cell)
    weights = leaves(primed)
    learnt, _, _ = learner.learn(config, weights, hear(25, 3, 1))
    scores, _ = learner.respond(config, weights, learnt, hear(18, 4, 2))
    scores[-1].square().sum().backward()
    unused = {"log_tau_adaptation", "beta"} if cell == "lif" else set()
    for name, weight in weights.items():
        if name not in unused:
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
            assert weight.grad.abs().max() > 0, name


def check_against_finite_differences(loss: Callable[[dict[str, Tensor]], Tensor], primed: dict[str, Tensor], names: list[str]) -> None:
    weights = leaves(primed)
    gradients = torch.autograd.grad(loss(weights), [weights[name] for name in names])
    for seed, (name, gradient) in enumerate(zip(names, gradients, strict=True)):
        direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        step = 1e-6
        up, down = (loss(primed | {name: primed[name] + s * step * direction}).item() for s in (1, -1))
        expected = (gradient * direction).sum().item()
        assert abs(expected) > 1e-5, name
        assert (up - down) / (2 * step) == pytest.approx(expected, rel=1e-5), name


@pytest.mark.parametrize("cell", ["lif", "alif", "adlif"])
def test_the_outer_gradient_through_the_update_equals_finite_differences(make_learner: MakeLearner, cell: str) -> None:
    """Membranes after one step depend smoothly on the update: no spike of the query lies in between, and those of the utterance do not change."""
    config, primed = make_learner(6, cell=cell)
    x, query = hear(25, 3, 1), hear(1, 4, 2)
    weighting = torch.randn(3, 4, 14, generator=torch.Generator().manual_seed(8), dtype=torch.float64)

    def membrane(weights: dict[str, Tensor]) -> Tensor:
        _, activity = learner.respond(config, weights, learner.learn(config, weights, x)[0], query)
        potential: Tensor = activity.state[0]
        return (potential * weighting).sum()

    check_against_finite_differences(membrane, primed, ["lsg.out", "log_rate_in"])


def test_the_outer_gradient_of_the_recurrent_rate_equals_finite_differences(make_learner: MakeLearner) -> None:
    """The change of W_rec first shows at the second step, through spikes of the first, which do not depend on it."""
    config, primed = make_learner(6)
    primed["bias"] = primed["bias"] + 1
    x, query = hear(25, 3, 1), hear(2, 4, 2)

    def membrane(weights: dict[str, Tensor]) -> Tensor:
        _, activity = learner.respond(config, weights, learner.learn(config, weights, x)[0], query)
        potential: Tensor = activity.state[0]
        return potential.square().sum()

    check_against_finite_differences(membrane, primed, ["log_rate_rec"])


def test_the_outer_gradient_of_the_readout_equals_finite_differences(make_learner: MakeLearner) -> None:
    config, primed = make_learner(7)
    primed["lsg.profile"] = primed["lsg.profile"] / 2  # away from the bounds of the gate
    x, queries = hear(25, 3, 1), hear(18, 4, 2)

    def score(weights: dict[str, Tensor]) -> Tensor:
        return learner.respond(config, weights, learner.learn(config, weights, x)[0], queries)[0][-6:].square().sum()

    names = ["readout.gain", "readout.center", "readout.input_gain", "readout.input_center", "lsg.gate", "lsg.profile"]
    check_against_finite_differences(score, primed, names)


# ---- learning to learn --------------------------------------------------------------------------------------------------------------------------


def utterances(rng: torch.Generator, words: int, takes: int) -> Tensor:
    """Utter new words of a toy family: [T, words, takes, I].

    A word is which of 8 channels are busy in each half of 12 steps, before 8 quiet ones; 8 more channels carry a "voice" that differs between takes
    and says nothing about the word.
    """
    word = (torch.rand(2, words, 1, 8, generator=rng) < 0.5).float() * 0.5
    voice = (torch.rand(1, words, takes, 8, generator=rng) < 0.5).float() * 0.6
    rate = torch.cat([word.expand(-1, -1, takes, -1), voice.expand(2, -1, -1, -1)], -1).repeat_interleave(6, 0)
    rate = torch.cat([rate, torch.zeros_like(rate[:8])]) + 0.03
    return (torch.rand(rate.shape, generator=rng) < rate).float()


def tell_apart(config: LearnerConfig, weights: dict[str, Tensor], spoken: Tensor) -> tuple[Tensor, float]:
    """Learn each word from its first take and name the other takes: cross-entropy and accuracy."""
    words, takes = spoken.shape[1:3]
    learnt, _, _ = learner.learn(config, weights, spoken[:, :, 0])
    scores, _ = learner.respond(config, weights, learnt, spoken[:, :, 1:].flatten(1, 2))
    logits = 10 * scores.amax(0).T
    truth = torch.arange(words).repeat_interleave(takes - 1)
    return torch.nn.functional.cross_entropy(logits, truth), (logits.argmax(1) == truth).float().mean().item()


def test_a_toy_family_of_words_is_learnt_to_be_learnt() -> None:
    config = LearnerConfig(inputs=16, step_ms=40, groups=(32,), lsg_neurons=8, readout_sees_input=False, delays_ms=(0.0, 240.0))
    weights = leaves(initial_weights(config, torch.full((16,), 0.2), 0))
    unseen = utterances(torch.Generator().manual_seed(2), words=12, takes=8)
    with torch.no_grad():
        loss_before, accuracy_before = tell_apart(config, weights, unseen)
    rng = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(weights.values(), lr=0.05)
    for _ in range(15):
        optimiser.zero_grad()
        loss, _ = tell_apart(config, weights, utterances(rng, words=12, takes=4))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
    with torch.no_grad():
        loss_after, accuracy_after = tell_apart(config, weights, unseen)
    assert loss_after < 0.7 * loss_before
    assert accuracy_after > accuracy_before + 0.15
