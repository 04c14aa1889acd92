"""The one-shot learner: batching, and the update that is applied."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snn import eprop, learner, lsg, network, readout
from snn.config import LearnerConfig
from snn.learner import Learning, Learnt
from snn.populations import cell_params, lsg_weights, without_autapses

Weights = dict[str, Tensor]
MakeLearner = Callable[..., tuple[LearnerConfig, Weights]]
MakeHeard = Callable[..., Tensor]
SETTINGS: list[dict[str, Any]] = [
    {"cell": "adlif"},
    {"cell": "board"},
    {"cell": "alif", "features": (8, 6)},
    {"cell": "lif", "features": (6, 5, 3), "neurons": 5},
    {"cell": "adlif", "adaptive_fraction": 0.5, "features": (9, 5), "delays_ms": (0.0, 2000.0)},  # a delay longer than the utterance
    {"cell": "alif", "metric": True},
]
STILL = {name: torch.tensor(-800.0).double() for name in ("log_rate_in", "log_rate_rec")}  # rates of zero
Learn = Callable[..., tuple[Learnt, Learning]]
Respond = Callable[..., tuple[Tensor, network.Activity]]


def compare(config: LearnerConfig, weights: Weights, learnt: Learnt, heard: Tensor) -> Tensor:
    """The first term of the score: what was learnt, through the metric, against what is heard."""
    words = learnt.readout
    if config.metric:
        words = (words.flatten(1) @ weights["readout.metric"]).reshape(words.shape)
        words = words / (words.square().sum((1, 2), keepdim=True) + readout.EPSILON).sqrt()
    return readout.score(learner.readout_units(config, weights, heard), weights["readout.gain"], words, config.delays)


@pytest.mark.parametrize("settings", SETTINGS)
def test_learning_one_word_equals_learning_it_beside_others(
    make_learner: MakeLearner, make_heard: MakeHeard, settings: dict[str, Any], learn: Learn
) -> None:
    config, weights = make_learner(1, **settings)
    heard = make_heard(config, weights, 25, 4, 1)
    together, learning = learn(config, weights, heard)
    assert 0.02 < learning.activity.z.mean() < 0.7
    assert together.factor.abs().max() > 0
    for b in range(4):
        alone, one = learn(config, weights, heard[:, b : b + 1])
        assert torch.equal(one.activity.z[:, 0], learning.activity.z[:, b])
        assert torch.equal(alone.recurrent[:, 0], together.recurrent[:, b])
        assert torch.equal(alone.presynaptic[:, 0], together.presynaptic[:, b])
        torch.testing.assert_close(one.signals.learning[:, 0], learning.signals.learning[:, b], rtol=0, atol=1e-12)
        torch.testing.assert_close(one.signals.gate[:, 0], learning.signals.gate[:, b], rtol=1e-12, atol=0)
        torch.testing.assert_close(alone.factor[:, 0], together.factor[:, b], rtol=0, atol=1e-12)
        torch.testing.assert_close(alone.readout[0], together.readout[b], rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_learnt_is_what_e_prop_and_the_gate_say(
    make_learner: MakeLearner, make_heard: MakeHeard, settings: dict[str, Any], learn: Learn
) -> None:
    """Three ways: traces forward in time, factors, and autograd with the recurrent spikes detached, where W c stays as it is."""
    config, weights = make_learner(1, **settings)
    heard = make_heard(config, weights, 25, 1, 1)[:, 0]
    learnt, learning = learn(config, weights, heard.unsqueeze(1))
    params, signal = cell_params(config, weights), learning.signals.learning[:, 0]
    assert torch.equal(learnt.presynaptic[:, 0], heard - weights["center"])
    assert torch.equal(learnt.recurrent[:, 0], network.delayed(learning.activity.z[:, 0]))

    w_in, w_rec = weights["w_in"].clone().requires_grad_(), weights["w_rec"].clone().requires_grad_()
    usual = weights["w_in"] @ weights["center"]
    current = (heard - weights["center"]) @ w_in.T + usual + weights["bias"]
    activity = network.run(current, without_autapses(w_rec), params, detach_recurrent=True)
    assert torch.equal(activity.z, learning.activity.z[:, 0])
    references = torch.autograd.grad((signal * activity.z).sum(), (w_in, w_rec))
    for presynaptic, reference in zip((learnt.presynaptic[:, 0], learnt.recurrent[:, 0]), references, strict=True):
        rule = eprop.OnlineEprop(tuple(reference.shape), params, torch.float64)
        for row in zip(presynaptic, learning.activity.psi[:, 0], signal, learning.activity.z[:, 0], strict=True):
            rule.step(*row)
        kept = eprop.gradient(learnt.factor[:, 0], presynaptic)
        torch.testing.assert_close(rule.gradient, kept, rtol=0, atol=1e-10)
        if reference.shape[1] == config.neurons:
            kept = without_autapses(kept)
        torch.testing.assert_close(kept, reference, rtol=0, atol=1e-10)
        assert reference.abs().max() > 1e-3

    generated = lsg.generate(heard, learning.activity.z[:, 0], lsg_weights(config, weights))
    torch.testing.assert_close(generated.learning, signal, rtol=0, atol=1e-12)
    units = learner.readout_units(config, weights, heard.unsqueeze(1))
    expected = readout.learn(units, weights["readout.gain"], generated.gate.unsqueeze(1), config.delays)
    torch.testing.assert_close(learnt.readout, expected, rtol=0, atol=1e-12)


def test_readout_units_are_low_passed_salient_projections_of_what_is_unusual(make_learner: MakeLearner, make_heard: MakeHeard) -> None:
    config, weights = make_learner(1)
    heard = make_heard(config, weights, 20, 2, 1)
    units = learner.readout_units(config, weights, heard)
    state = torch.zeros(2, config.projection).double()
    for t in range(20):
        salience = 1 / (1 + (-(heard[t] @ weights["readout.salience"]) - weights["readout.salience_bias"]).exp())
        received = salience.unsqueeze(1) * ((heard[t] - weights["center"]) @ weights["readout.project"].T)
        state = config.readout_kappa * state + (1 - config.readout_kappa) * received
        torch.testing.assert_close(units[t], state, rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_word_answers_every_query_as_if_they_were_alone(
    make_learner: MakeLearner, make_heard: MakeHeard, settings: dict[str, Any], learn: Learn, respond: Respond
) -> None:
    """The reference builds each word's weights and runs its network on each query by itself."""
    config, weights = make_learner(2, **settings)
    learnt, _ = learn(config, weights, make_heard(config, weights, 25, 3, 1))
    queries = make_heard(config, weights, 18, 4, 2)
    scores, activity = respond(config, weights, learnt, queries)
    assert scores.shape == (18, 3, 4)
    assert activity.z.shape == (18, 3, 4, config.neurons)
    assert activity.z.any()
    params = cell_params(config, weights)
    changed = 0.0
    for b in range(3):
        change_in = -weights["log_rate_in"].exp() * eprop.gradient(learnt.factor[:, b], learnt.presynaptic[:, b])
        change_rec = -weights["log_rate_rec"].exp() * eprop.gradient(learnt.factor[:, b], learnt.recurrent[:, b])
        w_in, w_rec = weights["w_in"] + change_in, (weights["w_rec"] + change_rec).fill_diagonal_(0)
        changed += change_in.abs().max().item()
        for q in range(4):
            run = network.run(network.project(queries[:, q], w_in) + weights["bias"], w_rec, params)
            assert torch.equal(run.z, activity.z[:, b, q])
            alone = learnt._replace(readout=learnt.readout[b : b + 1])
            cosine = compare(config, weights, alone, queries[:, q : q + 1])[:, 0, 0]
            filtered = torch.zeros(config.neurons).double()
            for t in range(18):
                filtered = config.readout_kappa * filtered + (1 - config.readout_kappa) * run.z[t]
                expected = cosine[t] + filtered @ weights["readout.learning"]
                torch.testing.assert_close(scores[t, b, q], expected, rtol=0, atol=1e-11)
    assert changed > 0.01


def test_words_have_their_own_networks(make_learner: MakeLearner, make_heard: MakeHeard, learn: Learn, respond: Respond) -> None:
    config, weights = make_learner(2)
    weights["log_rate_in"] = weights["log_rate_in"] + 2
    learnt, _ = learn(config, weights, make_heard(config, weights, 25, 2, 1))
    _, activity = respond(config, weights, learnt, make_heard(config, weights, 18, 3, 2))
    assert not torch.equal(activity.z[:, 0], activity.z[:, 1])


def test_a_query_is_answered_causally(make_learner: MakeLearner, make_heard: MakeHeard, learn: Learn, respond: Respond) -> None:
    config, weights = make_learner(2)
    learnt, _ = learn(config, weights, make_heard(config, weights, 25, 2, 1))
    query, other = make_heard(config, weights, 18, 3, 2), make_heard(config, weights, 18, 3, 3)
    scores, _ = respond(config, weights, learnt, query)
    changed, _ = respond(config, weights, learnt, torch.cat([query[:9], other[9:]]))
    torch.testing.assert_close(changed[:9], scores[:9], rtol=0, atol=1e-12)
    assert not torch.allclose(changed[9:], scores[9:])


@pytest.mark.parametrize("settings", SETTINGS)
def test_without_plasticity_the_learning_network_is_left_out(make_learner: MakeLearner, make_heard: MakeHeard, settings: dict[str, Any]) -> None:
    config, weights = make_learner(3, plastic=False, **settings)
    heard, queries = make_heard(config, weights, 20, 3, 1), make_heard(config, weights, 15, 2, 2)
    learnt, learning = learner.learn(config, weights, heard)
    scores, activity = learner.respond(config, weights, learnt, queries)
    assert learning is None
    assert activity is None
    assert learnt.factor.shape == learnt.recurrent.shape == (20, 3, config.neurons)
    assert not learnt.factor.any()
    assert not learnt.recurrent.any()
    torch.testing.assert_close(scores, compare(config, weights, learnt, queries), rtol=0, atol=1e-12)
    gate = lsg.gate_profile(20, lsg_weights(config, weights)).unsqueeze(1).expand(-1, 3)
    expected = readout.learn(learner.readout_units(config, weights, heard), weights["readout.gain"], gate, config.delays)
    torch.testing.assert_close(learnt.readout, expected, rtol=0, atol=1e-12)
    kept = {"center", "lsg.profile"} | {name for name in weights if name.startswith(("feature.", "readout."))} - {"readout.learning"}
    other = {name: w if name in kept else w + 1 for name, w in weights.items()}
    assert len(other) - len(kept) > 15
    again = learner.respond(config, other, learner.learn(config, other, heard)[0], queries)[0]
    assert torch.equal(again, scores)


@pytest.mark.parametrize("settings", SETTINGS)
def test_tiny_rates_leave_the_primed_network(
    make_learner: MakeLearner, make_heard: MakeHeard, settings: dict[str, Any], learn: Learn, respond: Respond
) -> None:
    config, weights = make_learner(3, **settings)
    heard, queries = make_heard(config, weights, 20, 3, 1), make_heard(config, weights, 15, 2, 2)
    still = weights | STILL
    learnt, _ = learn(config, still, heard)
    scores, activity = respond(config, still, learnt, queries)
    current = queries @ weights["w_in"].T + weights["bias"]
    primed = network.run(current, without_autapses(weights["w_rec"]), cell_params(config, weights))
    assert torch.equal(activity.z, primed.z.unsqueeze(1).expand_as(activity.z))
    answer = readout.low_pass(primed.z, config.readout_kappa) @ weights["readout.learning"]
    torch.testing.assert_close(scores, compare(config, weights, learnt, queries) + answer.unsqueeze(1), rtol=0, atol=1e-12)
    assert answer.any()


def test_rates_do_not_change_what_is_learnt_only_what_is_done_with_it(make_learner: MakeLearner, make_heard: MakeHeard, learn: Learn) -> None:
    config, weights = make_learner(3)
    heard = make_heard(config, weights, 20, 3, 1)
    a, b = learn(config, weights, heard)[0], learn(config, weights | STILL, heard)[0]
    assert all(torch.equal(*pair) for pair in zip(a, b, strict=True))


@pytest.mark.parametrize("cell", ["lif", "alif", "adlif", "board"])
def test_no_autapses(make_learner: MakeLearner, make_heard: MakeHeard, cell: str, learn: Learn, respond: Respond) -> None:
    config, weights = make_learner(4, cell=cell)
    heard, queries = make_heard(config, weights, 20, 2, 1), make_heard(config, weights, 15, 3, 2)
    other = weights | {name: weights[name] + 50 * torch.eye(len(weights[name])) for name in ("w_rec", "lsg.w_rec", "feature.w_rec")}
    results = [respond(config, w, learn(config, w, heard)[0], queries)[0] for w in (weights, other)]
    assert torch.equal(*results)
    assert torch.equal(make_heard(config, other, 20, 2, 1), heard)


def test_learning_and_answering_are_deterministic(make_learner: MakeLearner, make_heard: MakeHeard, learn: Learn, respond: Respond) -> None:
    first, second = (make_learner(5) for _ in range(2))
    outcomes = []
    for config, weights in (first, second):
        learnt, _ = learn(config, weights, make_heard(config, weights, 25, 3, 1))
        outcomes.append([*learnt, respond(config, weights, learnt, make_heard(config, weights, 18, 4, 2))[0]])
    assert all(torch.equal(*pair) for pair in zip(*outcomes, strict=True))


@pytest.mark.parametrize("settings", SETTINGS)
def test_several_utterances_are_averaged(
    make_learner: MakeLearner, make_heard: MakeHeard, settings: dict[str, Any], learn: Learn, respond: Respond
) -> None:
    """Factors laid end to end are the mean of the changes, and the readout is the mean direction: what a backend makes of several shots."""
    config, weights = make_learner(1, **settings)
    heard, queries = make_heard(config, weights, 25, 6, 1), make_heard(config, weights, 25, 3, 2)
    each, _ = learn(config, weights, heard)
    words = learner.pooled(each, 3)
    assert words.factor.shape == (75, 2, config.neurons)
    for b in range(2):
        own = slice(3 * b, 3 * b + 3)
        for presynaptic in ("presynaptic", "recurrent"):
            changes = eprop.gradient(each.factor[:, own], getattr(each, presynaptic)[:, own])
            torch.testing.assert_close(eprop.gradient(words.factor, getattr(words, presynaptic))[b], changes.mean(0), rtol=0, atol=1e-12)
        torch.testing.assert_close(words.readout[b], readout.normalised(each.readout[own].mean(0)), rtol=0, atol=1e-14)
    assert respond(config, weights, words, queries)[0].shape == (25, 2, 3)
    assert learner.pooled(each, 1) is each
