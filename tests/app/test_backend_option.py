"""`--backend`: a word is learnt on one and found on another, its file says where it was learnt, and what is not there is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.store import WordStore

Cli = Callable[..., tuple[int, str, str]]
VOICES = Path(__file__).resolve().parents[2] / "app" / "demo_voices"


@pytest.mark.parametrize(("teacher", "listener"), [("fixed", "torch"), ("torch", "fixed")])
def test_a_word_learnt_on_one_backend_is_found_on_another(cli: Cli, teacher: str, listener: str) -> None:
    status, out, err = cli("enroll", "connect", "--from", VOICES / "enroll.flac", "--backend", teacher, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["heard"][0]["backend"] == teacher
    assert [shot.backend for shot in WordStore().require("connect").info.shots] == [teacher]
    status, out, _ = cli("listen", "--from", VOICES / "stream.flac", "--backend", listener, "--json")
    assert status == 0
    found = [json.loads(line) for line in out.splitlines()]
    said = [item for item in json.loads((VOICES / "truth.json").read_text()) if item["word"] == "connect"]
    assert len(found) == len(said)
    assert all(abs(detection["end_s"] - item["end_s"]) < 0.5 for detection, item in zip(found, said, strict=True))


def test_shots_of_several_backends_make_one_word(cli: Cli, tiny_model: Path) -> None:
    for backend in ("torch", "fixed"):
        assert cli("enroll", "connect", "--from", VOICES / "enroll.flac", "--model", tiny_model, "--backend", backend, "--json")[0] == 0
    assert [shot.backend for shot in WordStore().require("connect").info.shots] == ["torch", "fixed"]


def test_a_backend_that_does_not_exist_is_refused_with_those_that_do(cli: Cli, tiny_model: Path) -> None:
    enroll, listen = ("enroll", "connect", "--from", VOICES / "enroll.flac", "--model", tiny_model), ("listen", "--from", VOICES / "stream.flac")
    assert cli(*enroll)[0] == 0
    for verb in (enroll, listen):
        status, out, err = cli(*verb, "--backend", "loihi")
        assert (status, out) == (2, "")
        assert err.startswith("app: no backend is called 'loihi'; choose one of: fixed")
        assert len(err.splitlines()) == 1
