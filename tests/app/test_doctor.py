"""What `app doctor` finds: nothing on a machine that is well, and every broken thing with its remedy, without one failure hiding another."""

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import app.doctor as module
import audio.microphone
import audio.speech_embedding
import audio.speech_probability
import priming.model
from app.doctor import Finding, Verdict
from app.store import StoredWord, WordStore
from audio.errors import AudioError
from audio.microphone import InputDevice
from priming.model import load_model

Cli = Callable[..., tuple[int, str, str]]
NETWORKS = (audio.speech_embedding, audio.speech_probability)
DEVICE = InputDevice(0, "built-in", 48_000, 1, True)


@pytest.fixture(autouse=True)
def microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio.microphone, "list_devices", lambda: [DEVICE])


@pytest.fixture(autouse=True)
def networks() -> Iterator[None]:
    """Sessions are kept for the process; a test that replaces a file must not see the last one's."""
    for network in NETWORKS:
        network.open_session.cache_clear()
    yield
    for network in NETWORKS:
        network.open_session.cache_clear()


def all_of(check: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in check}


def test_a_machine_that_is_well(cli: Cli) -> None:
    status, out, err = cli("doctor", "--json")
    found = {entry["check"]: entry for entry in json.loads(out)}
    assert (status, err) == (0, "")
    names = ("Python", "libraries", "speech embedding", "voice detector", "microphone", "model embedding", "model mel", "words", "disk", "speed")
    assert all(found[name]["verdict"] == "ok" for name in names if name != "speed")
    assert found["speed"]["verdict"] in ("ok", "warning", "broken")  # of this machine, right now
    assert set(names) <= set(found)
    assert all(entry["remedy"] for entry in found.values() if entry["verdict"] != "ok")


def test_lines_for_people_and_the_exit_status(cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("disk", Verdict.OK, "90 MB"), Finding("model [x]", Verdict.ABSENT, "optional", "pip install x")]
    monkeypatch.setattr(module, "examine", lambda words, model: iter(findings))
    monkeypatch.setattr("app.commands.doctor.examine", lambda words, model: iter(findings))
    assert cli("doctor")[:2] == (0, "ok      disk: 90 MB\nabsent  model [x]: optional; pip install x\n")
    findings.append(Finding("words", Verdict.BROKEN, "gone", "look for them"))
    with pytest.raises(SystemExit) as ended:
        cli("doctor")
    assert ended.value.code == 1
    assert capsys.readouterr().out.endswith("broken  words: gone; look for them\n")


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLDEST_PYTHON", (99, 1))
    (found,) = module._python()
    assert (found.verdict, found.remedy) == (Verdict.BROKEN, "install Python 99.1 or newer")


def test_missing_and_broken_libraries_are_named_each(monkeypatch: pytest.MonkeyPatch) -> None:
    find, load = importlib.util.find_spec, importlib.import_module

    def spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "wyoming" else find(name, package)

    def broken(name: str, package: str | None = None) -> object:
        if name == "soxr":
            raise OSError("libgomp.so.1: cannot open shared object file")
        return load(name, package)

    monkeypatch.setattr(module.importlib.util, "find_spec", spec)
    monkeypatch.setattr(module.importlib, "import_module", broken)
    found = all_of(module._libraries())
    assert [finding.check for finding in found.values() if finding.verdict is Verdict.BROKEN] == ["soxr", "wyoming"]
    assert "libgomp" in found["soxr"].detail
    assert found["wyoming"].remedy == "pip install --force-reinstall wyoming"
    assert "numpy" in found["libraries"].detail
    assert "wyoming" not in found["libraries"].detail


@pytest.mark.parametrize(("network", "name"), [(audio.speech_embedding, "speech embedding"), (audio.speech_probability, "voice detector")])
def test_another_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: ModuleType, name: str) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no network")
    monkeypatch.setattr(network, "find_model", lambda: other)
    network.open_session.cache_clear()
    found = {finding.check: finding for finding in module._networks()}
    assert found.keys() == {"speech embedding", "voice detector"}
    assert [check for check, finding in found.items() if finding.verdict is Verdict.BROKEN] == [name]
    assert f"is not the {name}" in found[name].detail
    assert found[name].remedy.startswith("reinstall it with: pip install")


@pytest.mark.parametrize(
    ("error", "detail", "remedy"),
    [
        ("PortAudio is missing, which the microphone needs: install it (apt install libportaudio2)", "PortAudio is missing", "install it"),
        (None, "none found", "plug one in"),
    ],
)
def test_no_microphone_is_a_warning(monkeypatch: pytest.MonkeyPatch, error: str | None, detail: str, remedy: str) -> None:
    def devices() -> list[InputDevice]:
        if error:
            raise AudioError(error)
        return []

    monkeypatch.setattr(audio.microphone, "list_devices", devices)
    (found,) = module._microphones()
    assert found.verdict is Verdict.WARNING
    assert found.detail.startswith(detail)
    assert found.remedy.startswith(remedy)


def test_a_damaged_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(priming.model.BUILT_IN / "embedding.safetensors", tmp_path)
    content = (priming.model.BUILT_IN / "mel.safetensors").read_bytes()
    (tmp_path / "mel.safetensors").write_bytes(content[: len(content) // 2])
    monkeypatch.setattr(priming.model, "BUILT_IN", tmp_path)
    found = all_of(module._models())
    assert [finding.verdict for finding in found.values()] == [Verdict.OK, Verdict.BROKEN]
    assert "damaged" in found["model mel"].detail


def test_every_word_file_is_read(new_word: Callable[..., StoredWord], home: Path) -> None:
    store = WordStore()
    for name, sha256 in (("lamp", load_model("embedding").sha256), ("radio", "1" * 64), ("sofa", "0" * 64)):
        store.put(new_word(name, sha256=sha256))
    damaged = next(path for path in store.directory.iterdir() if "sofa" in path.name)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    before = {path.name: path.read_bytes() for path in store.directory.iterdir()}
    found = all_of(module._words(None))
    assert found[f"word file {damaged.name}"].verdict is Verdict.BROKEN
    assert found[f"word file {damaged.name}"].remedy == "remove it and enroll the word again"
    assert found["word 'radio'"].verdict is Verdict.WARNING
    assert "has changed since" in found["word 'radio'"].detail
    assert 'words upgrade "radio"' in found["word 'radio'"].remedy
    assert found["words"].detail.startswith("1 of 3")
    assert {path.name: path.read_bytes() for path in store.directory.iterdir()} == before  # nothing was changed


@pytest.mark.parametrize(("free_mb", "verdict"), [(900, Verdict.OK), (90, Verdict.WARNING), (9, Verdict.BROKEN)])
def test_a_disk_that_is_full(monkeypatch: pytest.MonkeyPatch, free_mb: int, verdict: Verdict) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: SimpleNamespace(free=free_mb * 1e6))
    (found,) = module._disk(None)
    assert found.verdict is verdict
    assert f"{free_mb} MB" in found.detail


def test_extras_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert [(finding.verdict, finding.remedy) for finding in module._extras()] == [
        (Verdict.ABSENT, f"pip install 'sayonce[{extra}]'") for extra in ("nest", "spinnaker", "priming")
    ]


@pytest.mark.parametrize(("seconds", "verdict"), [(0.4, Verdict.OK), (3.0, Verdict.WARNING), (5.0, Verdict.BROKEN)])
def test_a_machine_that_is_too_slow(monkeypatch: pytest.MonkeyPatch, tiny_model: Path, seconds: float, verdict: Verdict) -> None:
    clock = iter((10.0, 10.0 + seconds))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    (found,) = module._speed(str(tiny_model))
    assert found.verdict is verdict
    assert f"{seconds / module.SOUND_S:.3f} s" in found.detail


def test_a_check_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Iterator[Finding]:
        raise RuntimeError("no such thing")
        yield

    for name in ("_libraries", "_models", "_speed"):
        monkeypatch.setattr(module, name, fails)
    found = all_of(module.examine())
    assert [found[name].verdict for name in ("libraries", "models", "speed")] == [Verdict.BROKEN] * 3
    assert found["speed"].detail == "cannot be checked (RuntimeError: no such thing)"
    assert found["disk"].verdict is Verdict.OK
