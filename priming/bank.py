"""The background bank, heard once for all words that are calibrated.

A backend whose shared part can be run apart from the words (`hardware.heard`) hears the bank before the first word is calibrated; from then on a word
costs its own learning network alone. What it heard is kept in memory and, given a folder, the spikes of the feature population on disk too, in a file
named after the model and the arithmetic that made them. The file is only ever a shortcut: what is missing, damaged or foreign is computed again.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardware.backend import Shot
from hardware.heard import Heard, HearsOnce
from priming.atomic import write_atomically
from priming.calibration import Clips, groups, pieces, stretches, taken_off

if TYPE_CHECKING:
    from priming.model import PrimedModel

log = logging.getLogger("sayonce")

DIGEST_BYTES = 32  # SHA-256 at the end of a file
MaximaOf = tuple[NDArray[np.float64], NDArray[np.float64]]


class Bank:
    """A model's background bank as one backend hears it.

    Args:
        model: whose bank it is.
        folder: where what was heard is kept for the next program; nowhere when None.
    """

    def __init__(self, model: "PrimedModel", folder: Path | None = None) -> None:
        self._model, self._folder = model, folder
        self._heard: tuple[str, list[Heard], list[Heard]] | None = None  # by which arithmetic, pieces, stretches
        self._last: tuple[list[Shot], MaximaOf] | None = None  # the word that heard the bank last

    def prepare(self, backend: HearsOnce) -> tuple[list[Heard], list[Heard]]:
        """Let what all words share hear the bank, unless it has; leaves the backend reset.

        Args:
            backend: with the model loaded.

        Returns:
            What was heard, in groups of pieces and in groups of stretches.
        """
        arithmetic = backend.arithmetic
        if self._heard is None or self._heard[0] != arithmetic:
            parts = [[clips[part] for part in groups(len(clips))] for clips in (pieces(self._model), stretches(self._model))]
            kept = self._read(arithmetic, [*parts[0], *parts[1]])
            known = iter(kept or ())
            heard = [[backend.hear(group, next(known, None)) for group in part] for part in parts]
            self._heard = arithmetic, heard[0], heard[1]
            if kept is None:
                self._write(arithmetic, [group.features for part in heard for group in part])
        return self._heard[1:]

    def maxima(self, backend: HearsOnce, shots: Sequence[Shot]) -> MaximaOf:
        """Let a word hear the bank; the word stays deployed, alone. Asked for the same word again, nothing is computed or deployed.

        Args:
            backend: with the model loaded.
            shots: of the word.

        Returns:
            The largest raw score in each piece [P, 1] and, running speech taken off, in each stretch [S, 1].
        """
        if self._last is None or len(self._last[0]) != len(shots) or any(old is not new for old, new in zip(self._last[0], shots, strict=True)):
            heard = self.prepare(backend)
            backend.deploy([shots])
            less = taken_off(self._model)
            in_pieces = [backend.score_heard(group) for group in heard[0]]
            parts = groups(len(stretches(self._model)))
            in_stretches = [backend.score_heard(group, None if less is None else less[part]) for group, part in zip(heard[1], parts, strict=True)]
            self._last = list(shots), (np.concatenate(in_pieces).astype(np.float64), np.concatenate(in_stretches).astype(np.float64))
        return self._last[1]

    def _path(self, arithmetic: str) -> Path | None:
        name = hashlib.sha256(f"{self._model.sha256} {arithmetic}".encode()).hexdigest()
        return self._folder / f"bank-{name[:32]}.safetensors" if self._folder else None

    def _read(self, arithmetic: str, clips: Sequence[Clips]) -> list[NDArray[np.uint8]] | None:
        """Read the packed spikes for groups of clips; None where there is no file that can be used."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path, channels = self._path(arithmetic), -(-self._model.config.learner.features[-1] // 8)
        try:
            content = path.read_bytes() if path else b""
            if _digest(content[:-DIGEST_BYTES]) != content[-DIGEST_BYTES:]:
                return None
            tensors = load(content[:-DIGEST_BYTES])
            parts = [tensors[str(k)] for k in range(len(clips))]
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        fitting = [part.dtype == np.uint8 and part.shape == (group.shape[1], len(group), channels) for part, group in zip(parts, clips, strict=True)]
        return parts if all(fitting) else None

    def _write(self, arithmetic: str, parts: Sequence[NDArray[np.uint8]]) -> None:
        """Keep packed spikes for the next program; a disk that takes none is no reason not to go on."""
        from safetensors.numpy import save

        path = self._path(arithmetic)
        if path is None:
            return
        content: bytes = save({str(k): part for k, part in enumerate(parts)})
        try:
            write_atomically(path, content + _digest(content), private=True)
        except OSError as error:
            log.info("what the networks heard of the background cannot be kept in %s: %s", path.parent, error.strerror or error)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
