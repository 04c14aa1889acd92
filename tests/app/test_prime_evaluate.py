"""The verbs around priming: options reach it, bad ones are refused before anything expensive, figures have the contract's names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    "options",
    [
        ["--minutes", "1", "--steps", "2"],
        ["--minutes", "0"],
        ["--steps", "-1"],
        ["--encoder", "nonesuch", "--steps", "1"],
        ["--device", "tpu", "--steps", "1"],
        ["--seed", "-1", "--steps", "1"],
        ["--sources", "voices", "--steps", "1"],
        ["--sources", "pairs=none", "--steps", "1"],
        ["--theta", "everything", "--steps", "1"],
        ["--theta", "rates", "--broadcast", "learned", "--steps", "1"],
        ["--inner", "bptt", "--steps", "1"],
        ["--optimizer", "es", "--theta", "weights", "--steps", "1"],
        ["--backend", "fixed", "--steps", "1"],
        ["--start", "mel", "--theta", "init", "--steps", "1"],
        ["--patience", "0", "--steps", "1"],
        ["--set", "eprop_ways=1", "--steps", "1"],
        ["--set", "eprop_ways", "--steps", "1"],
        ["--set", "nonesuch=1", "--steps", "1"],
    ],
)
def test_bad_options_of_prime_are_refused(cli: Cli, tmp_path: Path, options: list[str]) -> None:
    status, out, err = cli("prime", "--data", tmp_path, "--out", tmp_path / "m.safetensors", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["prime", "--out", "m"], "--data and --out are needed"),
        (["prime", "--data", ".", "--out", "m", "--steps", "1", "--set", "eprop_ways=1"], "--set eprop_ways=1: Input should be greater than 1"),
        (["prime", "--data", ".", "--out", "m", "--steps", "1", "--inner", "bptt"], "belong to theta 'init'"),
        (["prime", "--data", ".", "--out", "m", "--steps", "1", "--encoder", "mel", "--teacher", "net"], "add --distil SHARE"),
        (["prime", "--compare", "embedding", "nobody"], "no model 'nobody'"),
    ],
)
def test_a_refusal_says_what_to_change(cli: Cli, arguments: list[str], told: str) -> None:
    status, out, err = cli(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_two_runs_are_compared(cli: Cli, tmp_path: Path, tiny_model: Path) -> None:
    status, out, err = cli("prime", "--compare", tiny_model, tiny_model)
    assert (status, err) == (0, "")
    assert "options that differ" in out
    assert "finished" in out


def test_a_missing_data_folder_is_refused(cli: Cli, tmp_path: Path, tiny_model: Path) -> None:
    for arguments in (
        ["prime", "--data", tmp_path / "none", "--out", tmp_path / "m", "--steps", "1"],
        ["prime", "--data", tmp_path, "--out", tmp_path, "--steps", "1"],
        ["evaluate", "--data", tmp_path / "none"],
        ["evaluate", "--data", tmp_path, "--model", tiny_model],
        ["evaluate", "--data", tmp_path, "--role", "prime", "--model", tiny_model],
        ["evaluate", "--data", tmp_path, "--ways", "1"],
        ["evaluate", "--data", tmp_path, "--shots", "0"],
        ["evaluate", "--data", tmp_path, "--episodes", "0"],
        ["evaluate", "--data", tmp_path, "--seed", "-1"],
    ):
        status, out, err = cli(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), arguments


def test_prime_passes_its_options_on_and_shows_progress(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.commands import prime as command
    from priming import run
    from priming.loop import StepReport

    seen: dict[str, Any] = {}

    def prime(config: Any, *, resume: bool, watch: Any, announce: Any) -> Path:
        seen.update(config=config, resume=resume)
        announce("fitting the encoder")
        for step in (1, 2):
            watch(StepReport(step, step / 2, 3.0 * step, 1.5, 0.7, 24, {}))
        return Path(config.out)

    monkeypatch.setattr(run, "prime", prime)
    monkeypatch.setattr(command, "LINE_S", -1.0)
    status, out, err = cli(
        *("prime", "--data", tmp_path, "--out", tmp_path / "m.safetensors", "--encoder", "mel", "--steps", "2", "--seed", "7", "--resume"),
        *("--sources", "commands,pairs=0.5", "--theta", "init", "--broadcast", "random", "--patience", "3", "--set", "eprop_ways=7"),
    )
    assert (status, out) == (0, f"{tmp_path / 'm.safetensors'}\n")
    config = seen["config"]
    assert (config.encoder, config.steps, config.minutes, config.seed, config.device, seen["resume"]) == ("mel", 2, None, 7, "cpu", True)
    assert config.sources == {"commands": 1.0, "pairs": 0.5}
    assert (config.changes(), config.patience, config.eprop_ways) == ({"theta": "init", "broadcast": "random"}, 3, 7)
    assert config.optimizer == "bptt"
    assert "app: fitting the encoder\n" in err
    assert "loss 1.500, accuracy 0.700" in err
    assert "0:03 left" in err


def test_an_interrupted_run_says_how_to_go_on(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from priming import run

    def prime(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "prime", prime)
    status, out, err = cli("prime", "--data", tmp_path, "--out", tmp_path / "m.safetensors")
    assert (status, out) == (130, "")
    assert "--resume" in err


def test_the_figures_have_the_names_of_the_contract(cli: Cli, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from priming import evaluation
    from priming.metrics import Summary

    seen: list[Any] = []

    def evaluate(model: Any, backend: Any, config: Any, progress: Any) -> Summary:
        seen.append(config)
        progress(1, config.episodes)
        return Summary(0.9, 0.01, 0.96, 0.9, 0.15, 0.44, config.episodes, (0.9,) * config.episodes)

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    arguments = ["evaluate", "--data", tmp_path, "--model", tiny_model, "--role", "validation", "--episodes", "3", "--snr", "10"]
    status, out, _ = cli(*arguments, "--json")
    assert status == 0
    told = json.loads(out)
    keys = "accuracy accuracy_ci95 auroc_pairs auroc_open_set frr_at_far_5 frr_at_far_1 episodes model"
    assert set(keys.split()) <= set(told)
    assert (told["accuracy"], told["episodes"], told["model"], seen[0].snr_db) == (0.9, 3, "tiny", 10.0)
    status, out, _ = cli(*arguments)
    assert status == 0
    assert "0.900 ± 0.010" in out
    assert "44.0%" in out
