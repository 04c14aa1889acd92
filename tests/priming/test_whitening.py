"""The metric is divided by what continuous sound looks like to the readout: against sums written out, and what it does to words."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from priming.config import PrimeConfig, default_learner
from priming.model import load_model
from priming.outer_loop import OuterLoop
from priming.run import prime
from priming.whitening import covariance, whitened
from priming.workspace import Workspace, open_workspace
from snn import features, readout
from snn.config import METRIC
from snn.learner import readout_units


def with_metric(toy_config: Any, path: Any, **settings: Any) -> Any:
    plain = toy_config(path)
    return toy_config(path, **({"learner": plain.learner.model_copy(update={"metric": True}), "background": 4} | settings))


def test_the_covariance_is_that_of_what_the_readout_compares(toy_config: Any, toy_workspace: Workspace, tmp_path: Any) -> None:
    config = with_metric(toy_config, tmp_path / "m.safetensors")
    loop = OuterLoop(config, config.learner, toy_workspace)
    weights, stretches = loop.learner_weights(), toy_workspace.features
    found = covariance(config.learner, weights, stretches, copies=1)
    seen = []
    with torch.no_grad():
        for clip in range(len(stretches.clips)):
            spikes = torch.from_numpy(stretches.take(np.array([clip]), np.array([clip % 2]))).float().transpose(0, 1)
            units = readout_units(config.learner, weights, features.hear(config.learner, weights, spikes)[0])[:, 0]
            for t in range(max(config.learner.delays), len(units)):  # once every delay line is full
                f = torch.stack([units[t - d] for d in config.learner.delays]) * weights["readout.gain"]
                seen.append((f / (f.square().sum() + readout.EPSILON).sqrt()).reshape(-1).double())
    expected = torch.stack(seen).T @ torch.stack(seen)
    torch.testing.assert_close(found.double(), expected / (torch.trace(expected) / len(expected)), rtol=1e-4, atol=1e-5)
    assert torch.trace(found).item() == len(found) == 3 * config.learner.projection


def test_whitening_is_division_by_the_covariance() -> None:
    rng = torch.Generator().manual_seed(0)
    spread, metric = torch.randn(6, 6, generator=rng), torch.randn(6, 6, generator=rng)
    usual = spread @ spread.T
    found = whitened(metric, usual, 0.3)
    torch.testing.assert_close(found @ (torch.eye(6) + 0.3 * usual), metric, rtol=1e-4, atol=1e-4)
    assert torch.equal(whitened(metric, usual, 0.0), metric)


def test_what_everything_has_in_common_counts_less() -> None:
    """A word that is half itself and half the usual direction is compared mostly with itself."""
    usual = torch.zeros(8, 8)
    usual[0, 0] = 8.0
    word = torch.zeros(1, 2, 4)
    word[0, 0, :2] = 0.5**0.5
    compared = readout.compared(word, whitened(torch.eye(8), usual, 0.5)).reshape(-1)
    assert compared[0].item() < 0.21 < 0.97 < compared[1].item()
    torch.testing.assert_close(compared.norm(), torch.tensor(1.0))


def test_the_end_of_a_run_whitens_the_metric_and_keeps_the_levels(toy_config: Any, tmp_path: Any) -> None:
    from priming.finish import save_primed

    config = with_metric(toy_config, tmp_path / "m.safetensors", steps=2, whitening=0.4, initial_share=0.25)
    workspace = open_workspace(config, lambda line: None)
    loop = OuterLoop(config, config.learner, workspace)
    for _ in range(2):
        loop.advance()
    primed, finished = loop.learner_weights()[METRIC], loop.finished_weights()
    assert not torch.equal(primed, torch.eye(len(primed)))  # moved by priming
    torch.testing.assert_close(finished[METRIC], 0.75 * primed + 0.25 * torch.eye(len(primed)))
    model = load_model(save_primed(config, loop, workspace, lambda line: None))
    assert workspace.background is not None
    usual = covariance(config.learner, finished, workspace.background.features, config.copies)
    torch.testing.assert_close(model.weights[METRIC], whitened(finished[METRIC], usual, 0.4))
    assert all(torch.equal(model.weights[name], tensor) for name, tensor in finished.items() if name != METRIC)
    assert torch.equal(loop.learner_weights()[METRIC], primed)  # the run itself may go on
    assert model.config.levels is not None
    assert -1 < model.config.levels[0] < model.config.levels[1] < 1.5


def test_the_metric_moves_less_than_the_rest_of_the_readout(toy_config: Any, toy_workspace: Workspace, tmp_path: Any) -> None:
    config = with_metric(toy_config, tmp_path / "m.safetensors", steps=10, background=0)
    loop = OuterLoop(config, config.learner, toy_workspace)
    before = loop.learner_weights()
    before = {name: before[name].clone() for name in (METRIC, "readout.gain")}
    loop.advance()
    moved = {name: (loop.learner_weights()[name] - start).abs().max().item() for name, start in before.items()}
    assert 0 < moved[METRIC] < 0.3 * moved["readout.gain"]


def test_a_finished_model_is_finished_anew_with_a_metric(toy_config: Any, toy_model_file: Any, tmp_path: Any) -> None:
    """No step is taken: every weight but the metric stays, and the metric is that of the whitened identity."""
    settings = {"learner": None, "start": str(toy_model_file), "steps": 0, "metric": True, "whitening": 0.4}
    config = toy_config(tmp_path / "anew.safetensors", **settings)
    assert prime(config) == config.out
    before, after = load_model(toy_model_file), load_model(config.out)
    assert all(torch.equal(after.weights[name], tensor) for name, tensor in before.weights.items())
    (added,) = set(after.weights) - set(before.weights)
    assert added == METRIC
    identity = torch.eye(len(after.weights[METRIC]))
    assert not torch.equal(after.weights[METRIC], identity)
    torch.testing.assert_close(after.weights[METRIC], after.weights[METRIC].T)  # the inverse of a symmetric matrix
    assert before.config.learner.model_copy(update={"metric": True}) == after.config.learner
    again = toy_config(tmp_path / "again.safetensors", **(settings | {"start": str(config.out)}))
    prime(again)
    assert torch.equal(load_model(again.out).weights[METRIC], after.weights[METRIC])  # white already
    assert after.config.provenance["origin"] == {"sha256": before.sha256, "provenance": before.config.provenance}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "nothing to finish without a model"),
        ({"steps": 1, "start": "mel", "metric": False}, "leave cell, theta"),
    ],
)
def test_what_cannot_be_finished_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PrimeConfig.model_validate({"data": ".", "out": "m"} | wrong)


@pytest.mark.parametrize(
    ("metric", "changes", "heard"),
    [(True, {}, True), (True, {"whitening": 0.0}, False), (False, {}, False), (False, {"background": 4}, True)],
)
def test_continuous_sound_is_encoded_where_a_run_needs_it(toy_config: Any, tmp_path: Any, metric: bool, changes: dict[str, Any], heard: bool) -> None:
    learner = toy_config(tmp_path / "m.safetensors").learner.model_copy(update={"metric": metric})
    config = toy_config(tmp_path / "m.safetensors", learner=learner, **({"background": 0} | changes))
    assert (open_workspace(config, lambda line: None).background is not None) is heard


def test_a_scheme_without_a_readout_of_words_has_no_metric() -> None:
    config = PrimeConfig.model_validate({"data": ".", "out": "m", "steps": 1, "theta": "weights"})
    assert not config.asked(default_learner("embedding", 4, 40.0)).metric
