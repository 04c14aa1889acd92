"""Words travel in one file: all of them arrive or none, none is overwritten unasked, and a file from a stranger can do no harm."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from app import bundle as module
from app.bundle import HEADER, read_bundle, take_over, write_bundle
from app.engine import open_engine
from app.enrolment import enroll
from app.errors import StoreError
from app.store import StoredWord, WordStore, encode
from audio.files import read_audio
from priming.calibration import calibrate
from priming.model import load_model, save_model
from priming.tail import Tail

NewWord = Callable[..., StoredWord]
Cli = Callable[..., tuple[int, str, str]]
RECORDING = Path(__file__).resolve().parents[2] / "app" / "demo_voices" / "enroll.flac"


@pytest.fixture
def store(new_word: NewWord) -> WordStore:
    words = WordStore()
    words.put(new_word("lights on", shots=2), new_word("開燈"))
    return words


@pytest.fixture
def without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is here: none has to be loaded."""
    monkeypatch.setattr("priming.model.built_in_models", list)
    monkeypatch.setattr("priming.model.ALIASES", {})


def packed(*contents: bytes, count: str | None = None, names: list[str] | None = None) -> bytes:
    tensors = {name: np.frombuffer(content, np.uint8) for name, content in zip(names or map(str, range(len(contents))), contents, strict=True)}
    return save(tensors, metadata={HEADER: count or str(len(contents))})


@pytest.mark.usefixtures("without_models", "store")
def test_words_arrive_on_another_machine_as_they_were(cli: Cli, tmp_path: Path, store: WordStore) -> None:
    file = tmp_path / "words.bundle"
    assert cli("words", "export", file) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600  # it holds what somebody said
    status, out, err = cli("words", "import", file, "--words", tmp_path / "other")
    assert (status, out, err.count("\n")) == (0, "", 2)
    assert "'lights on' was enrolled under another model (embedding), which is not here" in err
    for before, after in zip(store.words(), WordStore(tmp_path / "other").words(), strict=True):
        assert after.info == before.info
        for old, new in zip(before.shots, after.shots, strict=True):
            assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(old, new, strict=True))


@pytest.mark.usefixtures("without_models")
def test_some_words_can_be_named(cli: Cli, tmp_path: Path, store: WordStore) -> None:
    assert cli("words", "export", tmp_path / "a", "開燈", "開燈")[0] == 0
    assert [word.info.word for word in read_bundle(tmp_path / "a")] == ["開燈"]
    status, _, err = cli("words", "export", tmp_path / "b", "開燈", "door")
    assert (status, err.count("\n")) == (2, 1)
    assert not (tmp_path / "b").exists()
    for word in store.words():
        store.remove(word.info.word)
    assert cli("words", "export", tmp_path / "b")[2] == f"app: no word is enrolled in {store.directory}; there is nothing to export\n"


@pytest.mark.usefixtures("store")
def test_an_export_replaces_an_older_bundle_and_nothing_else(cli: Cli, tmp_path: Path) -> None:
    file, photo = tmp_path / "words.bundle", tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8 a photo")
    assert [cli("words", "export", file)[0] for _ in range(2)] == [0, 0]
    status, _, err = cli("words", "export", photo)
    assert (status, err.count("\n")) == (2, 1)
    assert "no bundle" in err
    assert photo.read_bytes() == b"\xff\xd8 a photo"
    assert cli("words", "export", tmp_path / "none" / ".." / "x")[0] in (0, 2)


@pytest.mark.usefixtures("without_models")
def test_a_word_that_is_there_is_not_overwritten_unasked(cli: Cli, tmp_path: Path, store: WordStore, new_word: NewWord) -> None:
    write_bundle(tmp_path / "a", [new_word("gate"), new_word("lights on", shots=3)])
    status, _, err = cli("words", "import", tmp_path / "a")
    assert (status, err.count("\n")) == (2, 1)
    assert "'lights on' is enrolled already" in err
    assert "--replace" in err
    assert [(word.info.word, len(word.shots)) for word in store.words()] == [("lights on", 2), ("開燈", 1)]
    assert cli("words", "import", tmp_path / "a", "--replace")[0] == 0
    assert [(word.info.word, len(word.shots)) for word in store.words()] == [("gate", 1), ("lights on", 3), ("開燈", 1)]


def hostile(new_word: NewWord) -> dict[str, bytes]:
    """Files that are no bundles, by what is wrong with them."""
    lamp, radio = encode(new_word("lamp")), encode(new_word("radio"))
    whole = packed(lamp, radio)
    escaping = lamp.replace(b'\\"word\\":\\"lamp\\"', b'\\"word\\":\\"../x\\"')
    assert escaping != lamp
    return {
        "empty": b"",
        "text": b"not a bundle\n",
        "truncated": whole[: len(whole) // 2],
        "one byte short": whole[:-1],
        "one word damaged": packed(lamp, radio[:-9]),
        "no word in it": packed(b"RIFF", lamp),
        "a word": lamp,
        "path in a word's name": packed(escaping),
        "twice the same word": packed(lamp, lamp),
        "fewer words than announced": packed(lamp, count="2"),
        "no words": save({"x": np.zeros(0, np.uint8)}, metadata={HEADER: "0"}),
        "other tensors": save({"weight": np.zeros(3, np.float32)}),
        "numbers for bytes": save({"0": np.full(300, np.nan, np.float32)}, metadata={HEADER: "1"}),
        "huge header": (2**62).to_bytes(8, "little") + whole[8:],
        "zip": b"PK\x03\x04" + bytes(400),
        "pickle": b"\x80\x04\x95" + bytes(40),
    }


def test_hostile_files_are_refused_in_one_line_and_change_nothing(cli: Cli, tmp_path: Path, store: WordStore, new_word: NewWord) -> None:
    before = sorted((path.name, path.read_bytes()) for path in store.directory.glob("*.safetensors"))
    folder = tmp_path / "in"
    folder.mkdir()
    for what, content in hostile(new_word).items():
        file = folder / "words.bundle"
        file.write_bytes(content)
        status, out, err = cli("words", "import", file, "--replace")
        assert (status, out, err.count("\n")) == (2, "", 1), what
        assert str(file) in err, what
    for path in (folder, folder / "missing", Path("/dev/null")):
        assert cli("words", "import", path)[0] == 2
    assert sorted((path.name, path.read_bytes()) for path in store.directory.glob("*.safetensors")) == before
    assert {path.name for path in tmp_path.iterdir()} == {"in", "home"}
    assert [path.name for path in folder.iterdir()] == ["words.bundle"]


def test_names_of_tensors_decide_nothing(tmp_path: Path, new_word: NewWord) -> None:
    (tmp_path / "a").write_bytes(packed(encode(new_word("lamp")), names=["../../etc/passwd"]))
    store = WordStore(tmp_path / "words")
    take_over(store, read_bundle(tmp_path / "a"), [])
    assert [path.name.split("-")[0] for path in store.directory.glob("*.safetensors")] == ["lamp"]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "words"}


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_word: NewWord) -> None:
    write_bundle(tmp_path / "a", [new_word("lamp")])
    monkeypatch.setattr(module, "MAX_BYTES", 500)
    with pytest.raises(StoreError, match="too large"):
        read_bundle(tmp_path / "a")
    monkeypatch.setattr(module, "MOST_WORDS", 1)
    with pytest.raises(StoreError, match="between 1 and 1"):
        write_bundle(tmp_path / "b", [new_word("lamp"), new_word("radio")])


def test_a_forgotten_word_is_calibrated_as_one_of_as_many_utterances_as_it_was_learnt_from(tmp_path: Path, tiny_model: Path) -> None:
    model, known, speech = load_model(tiny_model), tmp_path / "known.safetensors", read_audio(RECORDING)
    one = Tail(level=2.0, per_hour=60.0, spread=0.3, shape=-0.1, highest=2.4, minutes=40.0)
    tails = {"tail": one, "tail_several": one.model_copy(update={"level": 1.6}), "speeds": (1.0, 0.86, 1.16)}
    save_model(known, model.config.model_copy(update=tails), model.weights, model.encoder_constants, model.background, model.running_speech)
    engine = open_engine(str(known), "torch")
    for count, level in ((1, 2.0), (5, 1.6)):
        words = tmp_path / f"words{count}"
        before = enroll("connect", *[speech] * count, words=words, model=str(known), forget_utterance=True).info
        (stored,) = WordStore(words).words()
        assert (len(stored.shots), len(before.calibration.own)) == (1, count)
        imported = WordStore(tmp_path / f"imported{count}")
        take_over(imported, [stored], [engine])
        after = imported.require("connect").info
        for found in (before.calibration, after.calibration):
            own = calibrate(engine.backend, model, stored.shots).tail.level  # of a model without averages
            assert found.tail.level == pytest.approx(0.25 * own + 0.75 * level, abs=0.02)
        assert after.calibration.own == pytest.approx(before.calibration.own, abs=0.05)


def test_words_of_one_bundle_that_would_be_taken_for_each_other_are_refused(cli: Cli, tmp_path: Path, tiny_model: Path) -> None:
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)[0] == 0
    stored = WordStore().require("connect")
    twin = stored.model_copy(update={"info": stored.info.model_copy(update={"word": "twin"})})
    write_bundle(tmp_path / "twins", [stored, twin])
    other = tmp_path / "other"
    status, out, err = cli("words", "import", tmp_path / "twins", "--words", other, "--model", tiny_model)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "'twin' was not kept: it would also answer to 'connect'" in err
    assert WordStore(other).words() == []


def test_a_word_of_a_model_that_is_here_is_checked_and_names_the_model_of_this_machine(cli: Cli, tmp_path: Path, tiny_model: Path) -> None:
    assert cli("enroll", "connect", "--from", RECORDING, "--model", tiny_model)[0] == 0
    stored = WordStore().require("connect")
    moved = stored.model_copy(update={"info": stored.info.model_copy(update={"model": "/home/somebody/else.safetensors"})})
    forged = stored.info.calibration.model_copy(update={"offset": -1e3, "own": (1e4,)})  # would fire on everything
    write_bundle(tmp_path / "good", [moved.model_copy(update={"info": moved.info.model_copy(update={"calibration": forged})})])
    strong = stored.shots[0]._replace(factor=stored.shots[0].factor * 1e4)
    write_bundle(tmp_path / "strong", [stored.model_copy(update={"shots": (strong,)})])
    other = tmp_path / "other"
    status, _, err = cli("words", "import", tmp_path / "strong", "--words", other, "--model", tiny_model)
    assert (status, err.count("\n")) == (2, 1)
    assert "of their size" in err
    assert WordStore(other).words() == []
    assert cli("words", "import", tmp_path / "good", "--words", other, "--model", tiny_model) == (0, "", "")
    found = WordStore(other).require("connect").info
    assert found.model == str(tiny_model)
    assert found.calibration == stored.info.calibration
    assert json.loads(cli("listen", "--from", RECORDING, "--words", other, "--json")[1].splitlines()[0])["word"] == "connect"
    status, _, err = cli("words", "import", tmp_path / "good", "--model", tiny_model)  # the store holds it already
    assert status == 2
