"""The file of an enrolled word: its description, and what each utterance taught, as one safetensors file of at most 300 kB.

What is kept are the factors of the weight change rather than its matrix (`hardware.backend.Shot`), and among them the utterance's input spikes, from
which another model with the same encoder can learn the word anew (`app.upgrade`). Spikes stand eight to a byte, and numbers that half precision holds
exactly take two. Nothing in a file is ever executed, and a file that is damaged, foreign or too large is told from a word before any of it is used.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from app.errors import StoreError
from app.names import clean, file_name
from audio.speed import Speeds
from priming.calibration import Calibration

if TYPE_CHECKING:
    from hardware import Shot
    from priming.model import PrimedModel

HEADER = "sayonce_word"  # key of our entry in a safetensors header
MAX_BYTES = 300_000  # of a file
DESCRIPTION_BYTES = 3_000  # of a file and an utterance, besides arrays


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShotInfo(_Frozen):
    """Where an utterance came from and what it was like."""

    source: str  # file name or microphone
    heard_at: str  # ISO 8601, UTC
    duration_s: FiniteFloat = Field(gt=0)  # of the speech
    end_s: FiniteFloat = Field(ge=0)  # where the speech ends in what the network heard
    level_dbfs: FiniteFloat
    snr_db: FiniteFloat
    backend: str = "torch"  # that learnt it
    remarks: tuple[str, ...] = ()  # problems that did not stop it from being learnt


class WordInfo(_Frozen):
    """Everything about an enrolled word that is not an array."""

    version: Literal[1] = 1
    word: str
    model: str  # name of a shipped model, or path of its file
    model_sha256: str
    encoder_sha256: str = ""  # of the model's encoder (`encoder_sha256`); empty where it was not noted
    created: str  # ISO 8601, UTC
    calibration: Calibration
    lag_s: FiniteFloat = Field(ge=0)  # from the end of an utterance to the peak of its score
    shots: tuple[ShotInfo, ...] = Field(min_length=1)
    speeds: Speeds = (1.0,)  # at which each utterance was learnt from, as it was said first
    forgotten: bool = False  # whether the utterances' spikes were thrown away: then one array of changes stands for all shots

    @property
    def duration_s(self) -> float:
        """Mean length of the utterances."""
        return sum(shot.duration_s for shot in self.shots) / len(self.shots)


class StoredWord(_Frozen):
    """An enrolled word: its description and what each utterance taught."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    info: WordInfo
    shots: tuple[Any, ...]  # of hardware.Shot, one for each speed of each of info.shots; one in all where the utterances are forgotten

    @property
    def utterances(self) -> list[tuple["Shot", ...]]:
        """What each utterance taught, at every speed; nothing where the utterances are forgotten."""
        speeds = len(self.info.speeds)
        return [] if self.info.forgotten else [self.shots[first : first + speeds] for first in range(0, len(self.shots), speeds)]

    @property
    def said(self) -> list["Shot"]:
        """What each utterance taught as it was said; nothing where the utterances are forgotten."""
        return [shots[0] for shots in self.utterances]


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def encoder_sha256(model: "PrimedModel") -> str:
    """Return a digest of what turns sound into spikes: two models with the same one hear an utterance alike."""
    digest = hashlib.sha256(model.config.encoder.model_dump_json().encode())
    for name, constants in sorted(model.encoder_constants.items()):
        digest.update(f"{name}{constants.dtype}{constants.shape}".encode() + constants.tobytes())
    return digest.hexdigest()


def fitting(shots: Sequence["Shot"]) -> tuple["Shot", ...]:
    """Make the shots of a word fit into its file, before anything is measured with them.

    Args:
        shots: as they were learnt.

    Returns:
        The same shots while they fit; else with e-prop factors that half precision holds: relative errors of at most 2^-11, and half the size.
    """
    import numpy as np

    arrays = [array for shot in shots for array in shot]
    if sum(array.nbytes // 8 if array.dtype == np.uint8 else array.nbytes for array in arrays) <= MAX_BYTES - len(shots) * DESCRIPTION_BYTES:
        return tuple(shots)
    with np.errstate(over="ignore"):  # a factor beyond the range becomes infinite, which `app.safe_range` refuses
        return tuple(shot._replace(factor=shot.factor.astype(np.float16).astype(np.float32)) for shot in shots)


def encode(word: StoredWord) -> bytes:
    """Serialise a word: arrays as tensors `shots.<k>.<field>`, spikes eight to a byte, the description in the header.

    Raises:
        StoreError: the word is too large for a file.
    """
    import numpy as np
    from safetensors.numpy import save

    tensors: dict[str, Any] = {}
    steps = []
    for k, shot in enumerate(word.shots):
        lengths = {}
        for field in shot._fields:
            array = np.ascontiguousarray(getattr(shot, field))
            if array.dtype == np.uint8:  # spikes
                lengths[field] = array.shape[-1]
                array = np.packbits(array, axis=-1)
            elif array.dtype == np.float32:
                with np.errstate(over="ignore"):
                    half = array.astype(np.float16)
                array = half if np.array_equal(half.astype(np.float32), array) else array
            tensors[f"shots.{k}.{field}"] = array
        steps.append(lengths)
    content: bytes = save(tensors, metadata={HEADER: word.info.model_dump_json(), "channels": json.dumps(steps)})
    if len(content) > MAX_BYTES:
        raise StoreError(
            f"'{word.info.word}' would take {len(content) / 1000:.0f} kB with {len(word.info.shots)} utterances, and a word has at most "
            f"{MAX_BYTES // 1000}; keep those it has, or enroll it afresh with --replace"
        )
    return content


def read_word(path: Path) -> StoredWord:
    """Read the file of a word.

    Raises:
        FileNotFoundError: there is none.
        StoreError: it is damaged or no word of ours.
    """
    if path.stat().st_size > MAX_BYTES:
        raise StoreError(f"{path}: too large for an enrolled word; move it elsewhere")
    word = decode(path.read_bytes(), str(path))
    if file_name(word.info.word) != path.name:
        raise StoreError(f"{path}: holds the word '{word.info.word}' under another file name; rename words with `app words rename`")
    return word


def decode(content: bytes, place: str) -> StoredWord:
    """Read a word from the contents of its file.

    Args:
        content: of any size and origin.
        place: what to call it in messages.

    Raises:
        StoreError: it is damaged or no word of ours.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if len(content) > MAX_BYTES:
        raise StoreError(f"{place}: too large for an enrolled word")
    header: Mapping[str, str] | None = None
    try:
        tensors = load(content)  # checks the header's length and every offset
        header = metadata(content)
        info = WordInfo.model_validate_json(header[HEADER])
        channels = json.loads(header["channels"])
        shots = tuple(_shot(tensors, channels[k], k) for k in range(1 if info.forgotten else len(info.shots) * len(info.speeds)))
        if clean(info.word) != info.word or len(info.calibration.own) != len(info.shots):
            raise ValueError(info.word)
    except (SafetensorError, ValidationError, KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError):
        if header is not None and HEADER not in header:
            raise StoreError(f"{place}: not an enrolled word; move it elsewhere") from None
        raise StoreError(f"{place}: damaged; remove it and enroll the word again") from None
    return StoredWord(info=info, shots=shots)


def metadata(content: bytes) -> Mapping[str, str]:
    """Return the entries of a safetensors file that are no tensors; empty where it has none.

    Raises:
        ValueError: it is no safetensors file.
    """
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}


def _shot(tensors: Mapping[str, Any], channels: Mapping[str, int], k: int) -> "Shot":
    """Rebuild one shot and check that its arrays fit together."""
    import numpy as np

    from hardware import Shot

    arrays = {}
    for field in Shot._fields:
        array = tensors[f"shots.{k}.{field}"]
        if field in channels:
            array = np.unpackbits(array, axis=-1, count=int(channels[field]))
        elif array.dtype == np.float16:
            array = array.astype(np.float32)
        if array.dtype not in (np.float32, np.uint8, np.int8) or not np.isfinite(array).all():
            raise ValueError(field)
        arrays[field] = array
    if {array.ndim for array in arrays.values()} != {1, 2} or arrays["readout"].ndim != 1:
        raise ValueError("axes")
    if len({len(array) for array in arrays.values() if array.ndim == 2}) != 1:
        raise ValueError("steps differ")
    return Shot(**arrays)
