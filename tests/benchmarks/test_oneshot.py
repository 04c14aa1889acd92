"""The comparison runs all methods on the same episodes and compares them in pairs."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import oneshot
import pytest
import torch
import typer
from typer.testing import CliRunner

from alternatives.batched import BatchedBackend
from alternatives.registry import METHODS
from hardware.backend import BackendError
from priming.errors import DataError
from priming.metrics import Summary, summarise
from priming.model import PrimedModel, load_model
from snn.config import LearnerConfig
from snn.initialise import initial_weights


@pytest.fixture(autouse=True)
def unprimed(make_model: Callable[[str], PrimedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oneshot, "load_model", lambda name: make_model(name) if name == "mel" else load_model(name))


def run(*arguments: object) -> SimpleNamespace:
    app = typer.Typer()
    app.command()(oneshot.main)
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return SimpleNamespace(code=found.exit_code, told=found.stdout, error=found.stderr)


def summary(accuracies: list[float]) -> Summary:
    """Figures of episodes of ten queries of the first of two words, of which so many are told right."""
    scores = [[[1.0, 0.0] if k < round(10 * accuracy) else [0.0, 1.0] for k in range(10)] for accuracy in accuracies]
    return summarise(scores, [[0] * 10] * len(accuracies))


def test_differences_are_those_of_natural_eprop_in_pairs() -> None:
    eprop, other = [0.9, 0.7, 1.0, 0.8], [0.6, 0.6, 0.9, 0.5]
    found = oneshot.differences({"eprop": summary(eprop), "other": summary(other)})
    assert list(found) == ["other"]
    each = np.subtract(eprop, other)
    assert found["other"].mean == pytest.approx(each.mean())
    assert found["other"].ci95 == pytest.approx(1.96 * each.std(ddof=1) / 2)
    assert oneshot.differences({"other": summary(other)}) == {}


def test_rounding_stands_behind_natural_eprop() -> None:
    assert list(oneshot.chosen(["eprop", "dtw"], [16, 8])) == ["eprop", "round-16", "round-8", "dtw"]
    assert list(oneshot.chosen(None, None)) == list(METHODS)


@pytest.mark.parametrize(("only", "bits", "reason"), [(["words"], None, "not words"), (None, [1], "2 bits")])
def test_what_is_not_there_is_an_error(only: list[str] | None, bits: list[int] | None, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        oneshot.chosen(only, bits)


def test_the_comparison_runs_every_method_that_can(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.json"
    common = ("--data", corpus, "--model", "mel", "--ways", 4, "--episodes", 2, "--seed", 1, "--round", 8)
    found = run(*common, "--json", out)
    assert found.code == 0, found.error
    assert "mel: 4-way 1-shot, validation words (isolated), 2 episodes, seed 1" in found.told
    rows = json.loads(out.read_text())
    assert {"eprop", "round-8", "broadcast", "readout", "none", "spikes", "dtw"} <= set(rows["methods"])
    assert {"primed-readout", "cosine", "dtw-embedding", "protonet"} <= set(rows["left_out"])
    assert all(row["title"] in found.told for row in rows["methods"].values())
    assert all(METHODS[name].title in found.error for name in rows["left_out"])
    assert "0.250 ± 0.000" in next(line for line in found.told.splitlines() if "no update at all" in line)
    assert "W_in" in found.told.splitlines()[-1]
    eprop, none = (rows["methods"][name]["episode_accuracy"] for name in ("eprop", "none"))
    assert rows["methods"]["none"]["eprop_minus_this"]["mean"] == pytest.approx(np.mean(np.subtract(eprop, none)))
    assert rows["methods"]["eprop"]["eprop_minus_this"] is None


def test_models_of_other_schemes_have_rows_of_their_own(
    corpus: Path, tmp_path: Path, make_model: Callable[[str], PrimedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schemes that no device runs among them; each row is named by what was primed."""
    mel = make_model("mel")

    def of(scheme: dict[str, str]) -> PrimedModel:
        learner = LearnerConfig(**mel.config.learner.model_dump() | scheme)
        weights = initial_weights(learner, torch.full((learner.inputs,), 0.2), 0, torch.from_numpy(mel.encoder().decoder()))
        return dataclasses.replace(mel, config=mel.config.model_copy(update={"learner": learner}), weights=weights)

    models = {
        "mel": mel,
        "a": of({"theta": "init"}),
        "b": of({"theta": "init", "inner": "bptt"}),
        "c": of({"theta": "weights"}),
        "d": of({"theta": "rates"}),
    }
    monkeypatch.setattr(oneshot, "load_model", models.__getitem__)
    rows = [option for name in "abcd" for option in ("--compare-model", f"{name}={name}")]
    out = tmp_path / "table.json"
    found = run("--data", corpus, "--model", "mel", "--ways", 4, "--episodes", 1, "--only", "eprop", *rows, "--json", out)
    assert found.code == 0, found.error
    methods = json.loads(out.read_text())["methods"]
    assert list(methods) == ["eprop", *"abcd"]
    titles = [methods[name]["title"] for name in "abcd"]
    assert titles == [
        "a: theta init, symmetric broadcast, inner eprop",
        "b: theta init, symmetric broadcast, inner bptt",
        "c: theta weights, no plasticity",
        "d: theta rates, a rate for each projection, symmetric broadcast",
    ]
    assert methods["a"]["accuracy"] > 0.25  # chance; the readout matches prototypes before priming
    for wrong in ("a", "=a", "eprop=a"):
        refused = run("--data", corpus, "--model", "mel", "--compare-model", wrong)
        assert refused.code == 2
        assert "NAME=FILE" in refused.error


def test_what_is_learnt_in_the_hidden_state_is_scored_clip_by_clip(make_model: Callable[[str], PrimedModel]) -> None:
    """The batched form gives a word the same score alone and beside others, and refuses a second utterance."""
    mel = make_model("mel")
    learner = LearnerConfig(**mel.config.learner.model_dump() | {"theta": "weights"})
    backend = BatchedBackend()
    backend.load(learner, initial_weights(learner, torch.full((learner.inputs,), 0.2), 0))
    rng = np.random.default_rng(0)
    clips = [(rng.random((steps, learner.inputs)) < 0.2).astype(np.uint8) for steps in (20, 25, 20)]
    backend.deploy([[backend.learn(clips[0])], [backend.learn(clips[1])]])
    together = backend.score(clips)
    assert together.shape == (3, 2)
    backend.deploy([[backend.learn(clips[1])]])
    np.testing.assert_allclose(backend.score(clips[1:])[:, 0], together[1:, 1], atol=1e-5)
    with pytest.raises(BackendError, match="--shots 1"):
        backend.deploy([[backend.learn(clips[0]), backend.learn(clips[1])]])


def test_noise_reaches_every_method(corpus: Path) -> None:
    common = ("--data", corpus, "--model", "mel", "--ways", 4, "--episodes", 2, "--only", "spikes", "--only", "dtw")
    clean, noisy = run(*common), run(*common, "--snr", -5)
    assert clean.code == noisy.code == 0
    assert "queries at -5 dB" in noisy.told
    for title in (METHODS["spikes"].title, METHODS["dtw"].title):
        rows = [next(line for line in found.told.splitlines() if title in line) for found in (clean, noisy)]
        assert rows[0] != rows[1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--only", "words"), "--only takes eprop"),
        (("--only", "protonet"), "--protonet FILE"),
        (("--model", "nobody"), "no model 'nobody'"),
        (("--ways", 99), "99 ways"),
    ],
)
def test_a_mistake_is_told_in_one_line(corpus: Path, arguments: tuple[object, ...], reason: str) -> None:
    found = run("--data", corpus, "--model", "mel", *arguments)
    assert found.code == 2
    assert reason in found.error.splitlines()[-1]
    assert "Traceback" not in found.error
