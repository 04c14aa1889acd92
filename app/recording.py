"""The audio around detections, kept only when asked for.

The last seconds of the stream stay in memory; when a word was told and its end has passed by half a second, one WAV file is written, in one step, for
its owner alone. The number of files is bounded: the oldest of ours make room for new ones. Nothing else in this program writes sound.
"""

import io
import logging
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.detector import Detection
from app.errors import AppError
from audio.constants import SAMPLE_RATE
from priming.atomic import write_atomically

log = logging.getLogger("sayonce")

BEFORE_S, AFTER_S = 1.0, 0.5  # kept around the word
MEMORY_S = 12.0  # of sound: the longest word with its surroundings, told late
MOST_FILES = 1000
OURS = re.compile(r"detection-\d{8}T\d{6}\.\d{6}Z-[^/\\]*\.wav")


def wav_bytes(samples: NDArray[np.float32]) -> bytes:
    """Encode 16 kHz mono, float32 [n] in [-1, 1], as a 16-bit WAV file."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 32767 / 32768), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


class DetectionRecorder:
    """Keeps the sound around detections.

    Args:
        folder: where the files go; made when missing.
        most_files: how many of ours it may hold.

    Raises:
        AppError: the folder cannot be used.
    """

    def __init__(self, folder: str | Path, most_files: int = MOST_FILES) -> None:
        self._folder, self._most = Path(folder).expanduser(), most_files
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AppError(f"--record-detections: {self._folder} cannot be used as a folder: {error.strerror or error}") from None
        self._kept: list[NDArray[np.float32]] = []
        self._end_s = 0.0  # of the kept sound, in the stream's time
        self._waiting: list[Detection] = []
        self._failed = False

    def hear(self, samples: NDArray[np.float32], end_s: float) -> None:
        """Take the next block of the stream.

        Args:
            samples: float32 [n] at 16 kHz.
            end_s: time of the stream after it; where sound was passed over since the last block, what was kept is forgotten.
        """
        if abs(end_s - len(samples) / SAMPLE_RATE - self._end_s) > 0.01:
            self.close()
            self._kept = []
        self._kept.append(samples)
        self._end_s = end_s
        while sum(map(len, self._kept)) - len(self._kept[0]) >= MEMORY_S * SAMPLE_RATE:
            del self._kept[0]
        self._write_due(self._end_s)

    def add(self, detection: Detection) -> None:
        """Keep the sound around a detection, once its end has passed."""
        self._waiting.append(detection)
        self._write_due(self._end_s)

    def close(self) -> None:
        """End the stream: what waits is written with as much sound as there is."""
        self._write_due(np.inf)

    def _write_due(self, time_s: float) -> None:
        due = [detection for detection in self._waiting if detection.end_s + AFTER_S <= time_s]
        self._waiting = [detection for detection in self._waiting if detection.end_s + AFTER_S > time_s]
        for detection in due:
            try:
                self._write(detection)
                self._failed = False
            except OSError as error:  # a full disk must not end listening
                if not self._failed:
                    log.warning("the sound of a detection could not be kept in %s: %s", self._folder, error.strerror or error)
                self._failed = True

    def _write(self, detection: Detection) -> None:
        sound = np.concatenate(self._kept) if self._kept else np.zeros(0, np.float32)
        begin_s = self._end_s - len(sound) / SAMPLE_RATE
        first, last = (max(0, round((edge - begin_s) * SAMPLE_RATE)) for edge in (detection.start_s - BEFORE_S, detection.end_s + AFTER_S))
        word = re.sub(r"\W+", "_", detection.word).strip("_").encode()[:80].decode(errors="ignore")
        files = sorted(path for path in self._folder.iterdir() if OURS.fullmatch(path.name))
        for oldest in files[: max(0, len(files) - self._most + 1)]:
            oldest.unlink(missing_ok=True)
        name = f"detection-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{word}.wav"
        write_atomically(self._folder / name, wav_bytes(sound[first:last]), private=True)
