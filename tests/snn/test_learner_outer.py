"""Learning to learn: the outer gradient against finite differences, and a toy family of words that is primed for."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snn import features, learner, network
from snn.config import LearnerConfig
from snn.initialise import initial_weights
from snn.learner import Learning, Learnt

Weights = dict[str, Tensor]
MakeLearner = Callable[..., tuple[LearnerConfig, Weights]]
MakeHeard = Callable[..., Tensor]
Learn = Callable[..., tuple[Learnt, Learning]]
Respond = Callable[..., tuple[Tensor, network.Activity]]


def leaves(weights: Weights) -> Weights:
    return {name: w.clone().requires_grad_() for name, w in weights.items()}


@pytest.mark.parametrize("cell", ["lif", "alif", "adlif", "board"])
@pytest.mark.parametrize("layers", [(12,), (8, 6)])
def test_the_outer_gradient_reaches_every_weight(
    make_learner: MakeLearner, make_heard: MakeHeard, cell: str, layers: tuple[int, ...], learn: Learn, respond: Respond
) -> None:
    config, primed = make_learner(5, cell=cell, features=layers)
    weights = leaves(primed)
    learnt, _ = learn(config, weights, make_heard(config, weights, 25, 3, 1))
    scores, _ = respond(config, weights, learnt, make_heard(config, weights, 18, 4, 2))
    scores[-1].square().sum().backward()
    unused = {f"{prefix}{name}" for prefix in ("", "feature.") for name in ("log_tau_adaptation", "beta")} if cell == "lif" else set()
    for name, weight in weights.items():
        if name not in unused:
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
            assert weight.grad.abs().max() > 0, name


def test_without_plasticity_the_outer_gradient_reaches_features_and_readout(make_learner: MakeLearner, make_heard: MakeHeard) -> None:
    config, primed = make_learner(5, plastic=False)
    weights = leaves(primed)
    learnt, _ = learner.learn(config, weights, make_heard(config, weights, 25, 3, 1))
    scores, _ = learner.respond(config, weights, learnt, make_heard(config, weights, 18, 4, 2))
    scores[-1].square().sum().backward()
    reached = {name for name, weight in weights.items() if weight.grad is not None and weight.grad.any()}
    used = {"center", "lsg.profile", "readout.project", "readout.gain", "readout.salience", "readout.salience_bias"}
    assert reached == used | {name for name in weights if name.startswith("feature.")}


def check_against_finite_differences(loss: Callable[[Weights], Tensor], primed: Weights, names: list[str]) -> None:
    weights = leaves(primed)
    gradients = torch.autograd.grad(loss(weights), [weights[name] for name in names])
    for seed, (name, gradient) in enumerate(zip(names, gradients, strict=True)):
        direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        step = 1e-6
        up, down = (loss(primed | {name: primed[name] + s * step * direction}).item() for s in (1, -1))
        expected = (gradient * direction).sum().item()
        assert abs(expected) > 1e-5, name
        assert (up - down) / (2 * step) == pytest.approx(expected, rel=1e-5), name


@pytest.mark.parametrize("cell", ["lif", "alif", "adlif", "board"])
def test_the_outer_gradient_through_the_update_equals_finite_differences(
    make_learner: MakeLearner, make_heard: MakeHeard, cell: str, learn: Learn, respond: Respond
) -> None:
    """Membranes after one step depend smoothly on the update: no spike of the query lies in between, and those of the utterance do not change."""
    config, primed = make_learner(6, cell=cell)
    heard, query = make_heard(config, primed, 25, 3, 1), make_heard(config, primed, 1, 4, 2)
    weighting = torch.randn(3, 4, 14, generator=torch.Generator().manual_seed(8), dtype=torch.float64)

    def membrane(weights: Weights) -> Tensor:
        _, activity = respond(config, weights, learn(config, weights, heard)[0], query)
        potential: Tensor = activity.state[0]
        return (potential * weighting).sum()

    check_against_finite_differences(membrane, primed, ["lsg.out", "lsg.out_bias", "log_rate_in", "center"])


def test_the_outer_gradient_of_the_recurrent_rate_equals_finite_differences(
    make_learner: MakeLearner, make_heard: MakeHeard, learn: Learn, respond: Respond
) -> None:
    """The change of W_rec first shows at the second step, through spikes of the first, which do not depend on it."""
    config, primed = make_learner(6)
    primed["bias"] = primed["bias"] + 1
    heard, query = make_heard(config, primed, 25, 3, 1), make_heard(config, primed, 2, 4, 2)

    def membrane(weights: Weights) -> Tensor:
        _, activity = respond(config, weights, learn(config, weights, heard)[0], query)
        potential: Tensor = activity.state[0]
        return potential.square().sum()

    check_against_finite_differences(membrane, primed, ["log_rate_rec"])


@pytest.mark.parametrize("plastic", [True, False])
def test_the_outer_gradient_of_the_readout_equals_finite_differences(make_learner: MakeLearner, make_heard: MakeHeard, plastic: bool) -> None:
    config, primed = make_learner(7, plastic=plastic)
    primed["lsg.profile"] = primed["lsg.profile"] / 2  # away from the bounds of the gate
    heard, queries = make_heard(config, primed, 25, 3, 1), make_heard(config, primed, 18, 4, 2)

    def score(weights: Weights) -> Tensor:
        return learner.respond(config, weights, learner.learn(config, weights, heard)[0], queries)[0][-6:].square().sum()

    others = ["readout.learning", "lsg.gate"] if plastic else ["center"]  # with plasticity the centre decides about spikes, too
    names = ["readout.project", "readout.gain", "readout.salience", "readout.salience_bias", "lsg.profile", *others]
    check_against_finite_differences(score, primed, names)


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


def tell_apart(config: LearnerConfig, weights: Weights, spoken: Tensor, learn: Learn, respond: Respond) -> tuple[Tensor, float]:
    """Learn each word from its first take and name the other takes: cross-entropy and accuracy."""
    words, takes = spoken.shape[1:3]
    heard, _ = features.hear(config, weights, spoken)
    learnt, _ = learn(config, weights, heard[:, :, 0])
    scores, _ = respond(config, weights, learnt, heard[:, :, 1:].flatten(1, 2))
    logits = 10 * scores.amax(0).T
    truth = torch.arange(words).repeat_interleave(takes - 1)
    return torch.nn.functional.cross_entropy(logits, truth), (logits.argmax(1) == truth).float().mean().item()


def test_a_toy_family_of_words_is_learnt_to_be_learnt(learn: Learn, respond: Respond) -> None:
    config = LearnerConfig(inputs=16, step_ms=40, features=(32,), neurons=16, lsg_neurons=8, projection=16, delays_ms=(0.0, 240.0))
    weights = leaves(initial_weights(config, torch.full((16,), 0.2), 0))
    unseen = utterances(torch.Generator().manual_seed(2), words=12, takes=8)
    with torch.no_grad():
        loss_before, accuracy_before = tell_apart(config, weights, unseen, learn, respond)
    rng = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(weights.values(), lr=0.05)
    for _ in range(15):
        optimiser.zero_grad()
        loss, _ = tell_apart(config, weights, utterances(rng, words=12, takes=4), learn, respond)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
    with torch.no_grad():
        loss_after, accuracy_after = tell_apart(config, weights, unseen, learn, respond)
    assert loss_after < 0.7 * loss_before
    assert accuracy_after > accuracy_before + 0.15
