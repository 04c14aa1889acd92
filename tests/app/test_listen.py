"""Listening to files, pipes and with an interrupt: JSON on stdout, everything else on stderr, bad input refused in one line."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app.errors import AppError
from app.store import StoredWord, WordStore
from audio.files import write_wav

Cli = Callable[..., tuple[int, str, str]]
VOICES = Path(__file__).resolve().parents[2] / "app" / "demo_voices"


@pytest.fixture
def enrolled(cli: Cli, tiny_model: Path) -> StoredWord:
    """A store with one word."""
    assert cli("enroll", "connect", "--from", VOICES / "enroll.flac", "--model", tiny_model)[0] == 0
    return WordStore().require("connect")


@pytest.fixture
def sound_file(tmp_path: Path, enrolled_sound: NDArray[np.float32]) -> Path:
    """The enrolled utterance, twice: even a network that was never primed recognises what it heard."""
    path = tmp_path / "heard.wav"
    write_wav(path, np.concatenate([enrolled_sound, enrolled_sound, enrolled_sound[:8_000]]))
    return path


def detections(out: str) -> list[dict[str, float | str]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_file_gives_one_json_object_per_word(cli: Cli, enrolled: StoredWord, sound_file: Path) -> None:
    status, out, err = cli("listen", "--from", sound_file, "--json")
    assert status == 0
    found = detections(out)
    assert [d["word"] for d in found] == ["connect", "connect"]
    assert all(set(d) == {"word", "start_s", "end_s", "score", "threshold"} for d in found)
    info = enrolled.info
    assert found[0]["threshold"] == pytest.approx(info.calibration.threshold)
    assert all(d["score"] >= d["threshold"] and d["end_s"] > d["start_s"] for d in found)  # type: ignore[operator]
    assert err.count("\n") == 1  # what is listened for


def test_a_pipe_is_heard_as_the_file_is(cli: Cli, enrolled: StoredWord, sound_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = soundfile.read(sound_file, dtype="int16")[0].astype("<i2")
    from_file = cli("listen", "--from", sound_file)[1]
    for options, pcm in (
        ([], samples.tobytes()),
        (["--channels", "2", "--format", "s32le", "--rate", "16000"], (np.repeat(samples[:, None], 2, 1).astype("<i4") << 16).tobytes()),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pcm)))
        status, out, _ = cli("listen", "--from", "-", *options)
        assert status == 0
        assert out == from_file


@pytest.mark.parametrize(
    ("options", "pcm"),
    [
        ([], b""),
        ([], b"\x00"),
        (["--format", "s17le"], b"\0" * 100),
        (["--rate", "0"], b"\0" * 100),
        (["--rate", "-5"], b"\0" * 100),
        (["--channels", "0"], b"\0" * 100),
        (["--format", "f32le"], np.full(100, np.nan, "<f4").tobytes()),
        ([], b"RIFF" + b"\0" * 96),
    ],
)
def test_a_pipe_that_is_no_sound_is_refused(cli: Cli, enrolled: StoredWord, monkeypatch: pytest.MonkeyPatch, options: list[str], pcm: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pcm)))
    status, out, err = cli("listen", "--from", "-", *options)
    assert (status, out) == (2, "")
    assert len([line for line in err.splitlines() if "listening for" not in line]) == 1


def test_files_that_are_no_sound_are_refused(cli: Cli, enrolled: StoredWord, tmp_path: Path, sound_file: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "cut.wav").write_bytes(sound_file.read_bytes()[:20_000])
    soundfile.write(tmp_path / "nan.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    for name in ("missing.wav", "empty.wav", "text.wav", "cut.wav", "nan.wav", "."):
        status, out, err = cli("listen", "--from", tmp_path / name)
        assert (status, out) == (2, ""), name
        assert len([line for line in err.splitlines() if "listening for" not in line]) == 1, err


def test_silence_holds_no_word(cli: Cli, enrolled: StoredWord, tmp_path: Path) -> None:
    write_wav(tmp_path / "silence.wav", np.zeros(80_000, np.float32))
    assert cli("listen", "--from", tmp_path / "silence.wav")[:2] == (0, "")


def test_without_words_the_remedy_is_told(cli: Cli, sound_file: Path) -> None:
    status, out, err = cli("listen", "--from", sound_file)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "app enroll WORD" in err


def test_a_damaged_word_does_not_silence_the_others(cli: Cli, enrolled: StoredWord, sound_file: Path) -> None:
    (WordStore().directory / "lamp-0000.safetensors").write_bytes(b"broken")
    status, out, err = cli("listen", "--from", sound_file, "--json")
    assert status == 0
    assert len(detections(out)) == 2
    assert "lamp-0000.safetensors: damaged" in err


def test_words_of_another_model_are_named(cli: Cli, enrolled: StoredWord, sound_file: Path, new_word: Callable[..., StoredWord]) -> None:
    WordStore().put(new_word("lamp"))
    status, out, err = cli("listen", "--from", sound_file, "--model", enrolled.info.model, "--json")
    assert status == 0
    assert len(detections(out)) == 2
    assert "passed over 'lamp'" in err


@pytest.mark.parametrize("options", [["--rate", "8000"], ["--channels", "2"], ["--format", "u8"], ["--device", "1"]])
def test_options_of_another_source_are_refused(cli: Cli, sound_file: Path, options: list[str]) -> None:
    status, _, err = cli("listen", "--from", sound_file, *options)
    assert (status, err.count("\n")) == (2, 1)


def test_the_model_of_the_words_may_be_gone(cli: Cli, enrolled: StoredWord, sound_file: Path, tmp_path: Path) -> None:
    info = enrolled.info.model_copy(update={"model": str(tmp_path / "gone.safetensors")})
    WordStore().put(StoredWord(info=info, shots=enrolled.shots))
    status, _, err = cli("listen", "--from", sound_file)
    assert (status, err.count("\n")) == (2, 1)
    assert "gone.safetensors" in err


@pytest.mark.usefixtures("enrolled")
@pytest.mark.parametrize("wait_s", [0.0, 0.1, 0.5, 3.0])
def test_an_interrupt_ends_listening_with_status_0_and_no_traceback(start: Callable[..., "subprocess.Popen[bytes]"], wait_s: float) -> None:
    with start("listen", "--from", "-", "--json") as program:
        assert program.stdin is not None
        program.stdin.write(b"\0" * 32_000)
        program.stdin.flush()
        time.sleep(wait_s)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    assert out == b""
    assert b"Traceback" not in err


def test_a_long_file_is_never_in_memory_as_a_whole(enrolled: StoredWord, tmp_path: Path) -> None:
    from app.commands.listen import open_source

    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for _ in range(10):
            file.write(np.zeros(16_000 * 60, np.int16))
    import tracemalloc

    with open_source(str(path), None, {}) as source:
        next(source.blocks)
        tracemalloc.start()
        seconds = sum(len(block) for block in source.blocks) / 16_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert seconds == pytest.approx(600, abs=1)
    assert peak < 2_000_000  # bytes; the whole takes 38 million


def test_events_tell_everything_in_order(cli: Cli, enrolled: StoredWord, sound_file: Path) -> None:
    status, out, _ = cli("listen", "--from", sound_file, "--events")
    assert status == 0
    events = detections(out)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "state"
    assert kinds[-1] == "heartbeat"
    assert kinds.count("detection") == 2
    assert events[-1]["detections"] == 2
    assert events[-1]["words"] == ["connect"]
    assert all(list(event)[:2] == ["event", "at"] for event in events)
    plain = detections(cli("listen", "--from", sound_file, "--json")[1])
    assert plain == [{k: v for k, v in event.items() if k not in ("event", "at")} for event in events if event["event"] == "detection"]


def test_near_misses_are_told_on_stderr_beside_json(cli: Cli, enrolled: StoredWord, sound_file: Path) -> None:
    calibration = enrolled.info.calibration.model_copy(update={"threshold": 0.9 * max(enrolled.info.calibration.own)})
    WordStore().put(StoredWord(info=enrolled.info.model_copy(update={"calibration": calibration}), shots=enrolled.shots))
    assert cli("listen", "--from", sound_file)[1] == ""
    status, out, err = cli("listen", "--from", sound_file, "--near-misses")
    assert (status, out) == (0, "")
    assert err.count("almost 'connect' at ") == 2
    events = detections(cli("listen", "--from", sound_file, "--events")[1])
    assert [event["word"] for event in events if event["event"] == "near miss"] == ["connect", "connect"]


def test_a_command_runs_for_each_detection(cli: Cli, enrolled: StoredWord, sound_file: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    script = tmp_path / "note.py"
    script.write_text("import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n'); print('noise on stdout')")
    status, out, _ = cli("listen", "--from", sound_file, "--json", "--exec", f"'{sys.executable}' '{script}' '{notes}' '{{word}} {{end_s}}'")
    assert status == 0
    found = detections(out)  # standard output holds JSON alone
    assert len(found) == 2
    for _ in range(200):
        if notes.exists() and notes.read_text().count("\n") == 2:
            break
        time.sleep(0.1)
    assert sorted(notes.read_text().splitlines()) == sorted(f"connect {d['end_s']:.3f}" for d in found)


@pytest.mark.parametrize("command", ["", "sh -c 'echo {word}'", "nonesuch-program"])
def test_a_command_that_cannot_be_run_is_refused(cli: Cli, enrolled: StoredWord, sound_file: Path, command: str) -> None:
    status, out, err = cli("listen", "--from", sound_file, "--exec", command)
    assert (status, out) == (2, "")
    assert "--exec" in err


AUDITED = """
import json, os, sys
written = []
def hook(event, details):
    if event == "open" and isinstance(details[0], str | bytes | os.PathLike):
        mode, flags = details[1], details[2]
        if (mode and set(mode) & set("wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            written.append(os.fsdecode(details[0]))
sys.addaudithook(hook)
from app.cli import main
status = main(sys.argv[1:])
print(json.dumps(written), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.usefixtures("enrolled")
def test_no_sound_is_written_unless_asked_for(tmp_path: Path, sound_file: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    environment = {**os.environ, "TMPDIR": str(place), "HOME": str(place), "XDG_CACHE_HOME": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    environment.pop("ORT_DISABLE_TELEMETRY", None)  # may have been set in this process: the program must do so itself

    def listen(*options: str) -> tuple[list[str], list[Path]]:
        command = [sys.executable, "-c", AUDITED, "listen", "--from", str(sound_file), "--events", *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment, timeout=250)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count('"detection"') == 2
        files = [path for path in place.rglob("*") if path.is_file()]
        return [name for name in json.loads(done.stderr.splitlines()[-1]) if name != os.devnull], files

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    written, files = listen()
    assert [name for name in written if not name.endswith(".pyc")] == []
    assert files == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    written, files = listen("--record-detections", "kept")  # the test would see it
    assert len(files) == 2
    assert all(path.parent == place / "kept" and path.suffix == ".wav" for path in files)
    assert any("kept" in name for name in written)


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals of POSIX")
@pytest.mark.usefixtures("enrolled")
def test_the_space_key_pauses_and_resumes_on_a_terminal(stream_sound: NDArray[np.float32], tmp_path: Path) -> None:
    import pty
    import termios

    path = tmp_path / "long.wav"
    write_wav(path, np.tile(stream_sound, 20))
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "app", "listen", "--from", str(path)]
    # A session of its own with the terminal: keys are read by a program in the foreground alone.
    with subprocess.Popen([sys.executable, "-c", FOREGROUND, *command], stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as program:
        shown = b""

        def until(text: bytes) -> None:
            nonlocal shown
            while text not in shown:
                shown += os.read(ours, 4096)
            shown = shown[shown.rindex(text) + len(text) :]

        until(b"space pauses")
        until(b"of real time")
        os.write(ours, b" ")
        until(b"muted")
        os.write(ours, b"x")  # no key of ours
        until(b"muted")
        os.write(ours, b" ")
        while b"of real time" not in shown or b"muted" in shown[-2000:]:
            shown = shown[-20_000:] + os.read(ours, 4096)
        program.send_signal(signal.SIGINT)
        reader = threading.Thread(target=lambda: _drain(ours), daemon=True)
        reader.start()
        assert program.wait(60) == 0
    assert termios.tcgetattr(theirs) == before  # the terminal is given back as it was
    os.close(theirs)
    reader.join(60)
    os.close(ours)


FOREGROUND = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def _drain(descriptor: int) -> None:
    """Read a terminal to its end."""
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:
        pass


@pytest.mark.parametrize(("options", "gate"), [([], True), (["--no-gate"], False)])
def test_the_networks_are_spared_silence_unless_asked(cli: Cli, monkeypatch: pytest.MonkeyPatch, options: list[str], gate: bool) -> None:
    def listener(*_: object, **settings: object) -> None:
        raise AppError(f"gate {settings['gate']}")

    monkeypatch.setattr("app.live.Listener", listener)
    assert cli("listen", "--from", VOICES / "enroll.flac", *options) == (2, "", f"app: gate {gate}\n")
