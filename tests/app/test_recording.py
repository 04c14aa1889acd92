"""The sound around detections: what was heard, in files that are whole, bounded and its owner's alone."""

import logging
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app import recording
from app.detector import Detection
from app.errors import AppError
from app.recording import AFTER_S, BEFORE_S, OURS, DetectionRecorder

RATE = 16_000


def ramp(seconds: float) -> NDArray[np.float32]:
    """Sound whose samples tell their time: 1e-5 each 16 samples."""
    return (np.arange(round(seconds * RATE)) // 16 * 1e-5).astype(np.float32)


def feed(recorder: DetectionRecorder, sound: NDArray[np.float32], block: int = 1280, at: int = 0) -> None:
    for first in range(0, len(sound), block):
        piece = sound[first : first + block]
        recorder.hear(piece, (at + first + len(piece)) / RATE)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_the_word_and_its_surroundings_are_kept(tmp_path: Path) -> None:
    recorder, sound = DetectionRecorder(tmp_path / "new" / "folder"), ramp(20.0)
    feed(recorder, sound[: RATE * 15])
    recorder.add(Detection("lights on", 14.0, 14.6, 4.0, 3.0))
    assert files(tmp_path / "new" / "folder") == []  # its end has not passed by half a second
    feed(recorder, sound[RATE * 15 : RATE * 16], at=RATE * 15)
    (path,) = files(tmp_path / "new" / "folder")
    kept, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    expected = sound[round((14.0 - BEFORE_S) * RATE) : round((14.6 + AFTER_S) * RATE)]
    np.testing.assert_allclose(kept, expected, atol=2 / 32768)
    assert OURS.fullmatch(path.name)
    assert path.name.endswith("-lights_on.wav")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_end_of_the_stream_writes_what_there_is(tmp_path: Path) -> None:
    recorder, sound = DetectionRecorder(tmp_path), ramp(2.0)
    feed(recorder, sound)
    recorder.add(Detection("lamp", 0.2, 1.9, 4.0, 3.0))
    recorder.close()
    (path,) = files(tmp_path)
    assert len(soundfile.read(path)[0]) == len(sound)
    recorder.close()
    assert len(files(tmp_path)) == 1


def test_a_gap_in_the_stream_is_not_glued(tmp_path: Path) -> None:
    recorder, sound = DetectionRecorder(tmp_path), ramp(3.0)
    feed(recorder, sound)
    recorder.add(Detection("lamp", 2.5, 2.9, 4.0, 3.0))
    feed(recorder, sound, at=RATE * 60)  # half a minute was passed over
    (path,) = files(tmp_path)
    np.testing.assert_allclose(soundfile.read(path)[0], sound[round(1.5 * RATE) :], atol=2 / 32768)
    recorder.add(Detection("lamp", 60.1, 60.5, 4.0, 3.0))
    assert len(soundfile.read(files(tmp_path)[1])[0]) == round((0.5 + AFTER_S) * RATE)


def test_memory_is_bounded(tmp_path: Path) -> None:
    recorder = DetectionRecorder(tmp_path)
    feed(recorder, np.zeros(RATE * 60, np.float32))
    assert sum(map(len, recorder._kept)) <= (recording.MEMORY_S + 0.1) * RATE


def test_the_oldest_of_ours_make_room_and_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "holiday.wav").write_bytes(b"mine")
    (tmp_path / "detection-notes.wav").write_bytes(b"mine")
    recorder = DetectionRecorder(tmp_path, most_files=3)
    feed(recorder, ramp(5.0))
    for k in range(6):
        recorder.add(Detection(f"word {k}", 1.0, 2.0, 4.0, 3.0))
    names = [path.name for path in files(tmp_path)]
    assert {"holiday.wav", "detection-notes.wav"} < set(names)
    assert [name[-10:] for name in names if OURS.fullmatch(name)] == ["word_3.wav", "word_4.wav", "word_5.wav"]


@pytest.mark.parametrize("word", ["../../etc/passwd", "a/b", "été", "開燈" * 20, "..."])
def test_no_name_leaves_the_folder(tmp_path: Path, word: str) -> None:
    recorder = DetectionRecorder(tmp_path / "here")
    feed(recorder, ramp(4.0))
    recorder.add(Detection(word, 1.0, 2.0, 4.0, 3.0))
    assert [path.name for path in files(tmp_path)] == ["here"]
    assert len(files(tmp_path / "here")) == 1


def test_a_full_disk_does_not_end_listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "write_atomically", full)
    recorder = DetectionRecorder(tmp_path)
    feed(recorder, ramp(4.0))
    with caplog.at_level(logging.WARNING, "sayonce"):
        for _ in range(3):
            recorder.add(Detection("lamp", 1.0, 2.0, 4.0, 3.0))
    assert caplog.text.count("No space left on device") == 1


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AppError, match="--record-detections"):
        DetectionRecorder(tmp_path / "file")
