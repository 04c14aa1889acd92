"""Enrolling from files: what is stored, what is printed, what is refused, and that a refusal loses nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app import enroll
from app.store import WordStore
from audio.files import write_wav

Cli = Callable[..., tuple[int, str, str]]
VOICES = Path(__file__).resolve().parents[2] / "app" / "demo_voices"
RECORDING = VOICES / "enroll.flac"


def test_a_word_is_stored_with_what_was_heard(cli: Cli, tiny_model: Path) -> None:
    status, out, err = cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model, "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert set(told) == {"word", "shots", "model", "threshold", "false_accepts_per_hour", "heard", "nearest"}
    assert (told["word"], told["shots"], told["nearest"]) == ("connect", 1, None)
    assert told["heard"][0]["source"] == str(RECORDING)
    assert told["heard"][0]["duration_s"] == pytest.approx(0.5, abs=0.15)
    stored = WordStore().require("connect")
    assert stored.info.model == str(tiny_model)
    assert stored.shots[0].inputs.shape[1] == 576


def test_people_are_told_what_was_heard_and_the_nearest_word(cli: Cli, tiny_model: Path, other_word: Path) -> None:
    cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)
    status, out, _ = cli("enroll", "[bold]phone", "--from", other_word)  # the model is that of the other words
    assert status == 0
    assert "dB over noise" in out
    assert "nearest word: connect" in out
    assert "enrolled [bold]phone from 1 utterance" in out
    assert WordStore().require("[bold]phone").info.model == str(tiny_model)


def test_a_word_that_would_be_taken_for_another_is_not_kept(cli: Cli, tiny_model: Path) -> None:
    cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)
    before = WordStore().contents("connect")
    status, out, err = cli("enroll", "collect", "--from", RECORDING)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "'collect' was not kept: it would also answer to 'connect'" in err
    assert WordStore().get("collect") is None
    assert WordStore().contents("connect") == before


def test_a_forgotten_utterance_is_not_in_the_file_and_the_word_is_recognised_all_the_same(
    cli: Cli, tmp_path: Path, tiny_model: Path, enrolled_sound: NDArray[np.float32]
) -> None:
    options = ["--from", RECORDING, "--model", tiny_model, "--json"]
    cli("enroll", "connect", *options)
    kept = WordStore().require("connect")
    told = json.loads(cli("enroll", "connect", "--replace", "--forget-utterance", *options)[1])
    assert told["shots"] == 1
    forgotten = WordStore().require("connect")
    assert forgotten.info.forgotten
    assert forgotten.info.shots[0].duration_s == kept.info.shots[0].duration_s
    assert all(array.dtype != np.uint8 for array in forgotten.shots[0])
    assert kept.shots[0].inputs.shape[0] != forgotten.shots[0].inputs.shape[0]  # no time is left in it
    write_wav(tmp_path / "stream.wav", np.concatenate([np.zeros(16_000, np.float32), enrolled_sound]))
    heard = cli("listen", "--from", tmp_path / "stream.wav", "--json")[1]
    assert json.loads(heard.splitlines()[0])["word"] == "connect"
    status, _, err = cli("enroll", "connect", *options)
    assert status == 2
    assert "were not kept, so none can be added" in err


def test_shots_add_up_and_can_be_replaced(cli: Cli, tiny_model: Path) -> None:
    options = ["--model", tiny_model, "--json"]
    assert json.loads(cli("enroll", "connect", "--from", RECORDING, "--from", RECORDING, *options)[1])["shots"] == 2
    assert json.loads(cli("enroll", "connect", "--from", RECORDING, *options)[1])["shots"] == 3
    assert len(WordStore().require("connect").shots) == 3
    assert json.loads(cli("enroll", "connect", "--from", RECORDING, "--replace", *options)[1])["shots"] == 1
    assert len(WordStore().require("connect").shots) == 1


def test_a_word_of_another_model_is_refused_unless_replaced(cli: Cli, tiny_model: Path, new_word: Callable[..., object]) -> None:
    WordStore().put(new_word("connect", sha256="1" * 64))  # type: ignore[arg-type]
    status, _, err = cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)
    assert status == 2
    assert "--replace" in err
    assert WordStore().require("connect").info.model_sha256 == "1" * 64
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model, "--replace")[0] == 0


def sound_files(folder: Path, speech: NDArray[np.float32]) -> dict[str, Path]:
    """Recordings that nothing can be learnt from, by what is wrong with them."""
    rate, rng = 16_000, np.random.default_rng(0)
    paths = {name: folder / f"{name}.wav" for name in ("silent", "noise", "clipped", "short", "long", "hour", "empty", "truncated", "text", "nan")}
    write_wav(paths["silent"], np.zeros(2 * rate, np.float32))
    write_wav(paths["noise"], (0.05 * rng.standard_normal(2 * rate)).astype(np.float32))
    write_wav(paths["clipped"], np.clip(40 * speech, -1, 1).astype(np.float32))
    write_wav(paths["short"], np.concatenate([speech[:8_500], speech[-8_000:]]))
    write_wav(paths["long"], np.tile(speech, 4))
    write_wav(paths["hour"], np.zeros(3600 * rate, np.float32))
    paths["empty"].write_bytes(b"")
    write_wav(paths["truncated"], speech)
    paths["truncated"].write_bytes(paths["truncated"].read_bytes()[:9_000])
    paths["text"].write_text("this is no sound\n")
    soundfile.write(paths["nan"], np.full(rate, np.nan, np.float32), rate, subtype="FLOAT")
    paths["missing"] = folder / "missing.wav"
    paths["folder"] = folder
    return paths


BAD = ["silent", "noise", "clipped", "short", "long", "hour", "empty", "truncated", "text", "nan", "missing", "folder"]


def test_bad_recordings_are_refused_with_the_reason_and_nothing_is_lost(
    cli: Cli, tmp_path: Path, enrolled_sound: NDArray[np.float32], tiny_model: Path, new_word: Callable[..., object]
) -> None:
    store = WordStore()
    store.put(new_word("connect"))  # type: ignore[arg-type]
    before = store.contents("connect")
    paths = sound_files(tmp_path, enrolled_sound)
    reasons = {}
    for name in BAD:
        status, out, err = cli("enroll", "connect", "--from", RECORDING, "--from", paths[name], "--model", tiny_model)
        assert (status, out) == (2, ""), name
        assert err.count("\n") == 1, err
        assert str(paths[name]) in err
        reasons[name] = err
    assert store.contents("connect") == before
    for name, word in {
        "silent": "silent",
        "clipped": "clipped",
        "short": "speech",
        "long": "one word",
        "hour": "longer",
        "truncated": "truncated",
    }.items():
        assert word in reasons[name], reasons[name]


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (11_025, 2), (44_100, 2), (48_000, 1), (96_000, 1)])
def test_any_rate_and_channel_count_is_heard(
    cli: Cli, tmp_path: Path, enrolled_sound: NDArray[np.float32], tiny_model: Path, rate: int, channels: int
) -> None:
    import soxr

    path = tmp_path / "word.wav"
    soundfile.write(path, np.tile(soxr.resample(enrolled_sound, 16_000, rate)[:, None], (1, channels)), rate)
    told = json.loads(cli("enroll", "connect", "--from", path, "--model", tiny_model, "--json")[1])
    assert told["heard"][0]["duration_s"] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("word", ["../lamp", "a\nb", "\x1b[2J", "", "..", "x" * 65])
def test_hostile_words_are_refused_in_one_line(cli: Cli, word: str, home: Path) -> None:
    status, out, err = cli("enroll", word, "--from", RECORDING)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "\x1b" not in err
    assert not home.exists()


@pytest.mark.parametrize("word", ["lights on", "開燈", "مرحبا", "-5 degrees"])
def test_words_of_any_script_are_enrolled(cli: Cli, word: str, tiny_model: Path) -> None:
    assert cli("enroll", "--from", RECORDING, "--model", tiny_model, "--", word)[0] == 0
    assert word in cli("words", "list")[1]


def test_bad_models_and_backends_are_refused(cli: Cli, tmp_path: Path, tiny_model: Path) -> None:
    broken, foreign = tmp_path / "broken.safetensors", tmp_path / "foreign.safetensors"
    broken.write_bytes(tiny_model.read_bytes()[:5_000])
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, foreign)
    for options in (["--model", broken], ["--model", foreign], ["--model", "nonesuch"], ["--backend", "nonesuch"]):
        status, out, err = cli("enroll", "lamp", "--from", RECORDING, *options)
        assert (status, out, err.count("\n")) == (2, "", 1), options


def test_a_full_disk_is_told_and_loses_nothing(cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)[0] == 0
    before = WordStore().contents("connect")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)
    assert (status, err) == (2, "app: No space left on device\n")
    assert WordStore().contents("connect") == before


def test_an_interrupt_while_learning_stores_nothing(cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    from hardware.torch_backend import TorchBackend

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TorchBackend, "learn", interrupt)
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model) == (130, "", "")
    assert WordStore().words() == []


def test_two_programs_that_enroll_at_once_lose_no_shot(tiny_model: Path) -> None:
    command = [sys.executable, "-m", "app", "enroll", "connect", "--from", str(RECORDING), "--model", str(tiny_model), "--json"]
    programs = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    told = sorted(json.loads(program.communicate(timeout=120)[0])["shots"] for program in programs)
    assert told == [1, 2]
    assert len(WordStore().require("connect").shots) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("wait_s", [0.0, 0.1, 0.5, 2.5])
def test_an_interrupt_at_any_moment_leaves_a_whole_store(start: Callable[..., "subprocess.Popen[bytes]"], tiny_model: Path, wait_s: float) -> None:
    with start("enroll", "connect", "--from", RECORDING, "--model", tiny_model) as program:
        time.sleep(wait_s)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=120)
    assert b"Traceback" not in errors
    assert program.returncode in (130, 0), errors  # 0: it was done before
    found = WordStore().get("connect")
    assert found is None or len(found.shots) == 1
    assert found is not None or program.returncode == 130
    assert not list(WordStore().directory.glob(".*.part"))


def test_the_microphones_options_do_not_go_with_files(cli: Cli) -> None:
    status, _, err = cli("enroll", "lamp", "--from", RECORDING, "--device", "1")
    assert (status, err.count("\n")) == (2, 1)


def test_on_a_terminal_the_word_can_be_kept_or_discarded(cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app import terminal

    monkeypatch.setattr(terminal, "interactive", lambda: True)
    answers = iter(["", "x", "discard", "k"])
    monkeypatch.setattr("builtins.input", lambda: next(answers))
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)[0] == 0  # return keeps
    assert len(WordStore().require("connect").shots) == 1
    assert "discarded" in cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)[1]  # asks again after "x"
    assert len(WordStore().require("connect").shots) == 1
    cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)
    assert len(WordStore().require("connect").shots) == 2


def test_the_end_of_the_input_keeps_the_word(cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app import terminal

    def end() -> str:
        raise EOFError

    monkeypatch.setattr(terminal, "interactive", lambda: True)
    monkeypatch.setattr("builtins.input", end)
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)[0] == 0
    assert WordStore().get("connect") is not None


def test_the_library_enrolls_without_the_command_line(tmp_path: Path, tiny_model: Path, enrolled_sound: NDArray[np.float32]) -> None:
    stored = enroll("connect", enrolled_sound, words=tmp_path, model=str(tiny_model))
    assert WordStore(tmp_path).require("connect").info == stored.info
    with pytest.raises(ValueError, match="at least one"):
        enroll("connect", words=tmp_path)
