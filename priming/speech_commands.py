"""The whole of Speech Commands as a source of recordings, through torchaudio's own class for it.

torchaudio downloads, checks and unpacks the corpus on a user's machine and lists it; its own reading of audio needs a codec package that is not
installed here, so an item's samples come from `audio.files`. The unpacked folder has the plain layout that `priming.manifest` reads, with the
same roles and splits as everywhere. Importing this file imports torchaudio and torch: import it where it is needed.
"""

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from audio.constants import SAMPLE_RATE
from audio.files import read_audio
from audio.torchaudio_guard import import_torchaudio
from priming.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

_SPEECHCOMMANDS: Any = import_torchaudio().datasets.SPEECHCOMMANDS


class SpeechCommands(_SPEECHCOMMANDS):  # type: ignore[misc]
    """Google Speech Commands (Warden 2018), 105,829 utterances of 35 words, CC BY 4.0.

    Args:
        root: the folder that holds, or is to hold, `SpeechCommands/speech_commands_v0.02`.
        download: fetch 2.4 GB when it is not there.
        subset: `training`, `validation` or `testing` after the corpus's own lists; all when None.

    Raises:
        DataError: the corpus is not there, or the download failed.
    """

    def __init__(self, root: str | Path, download: bool = False, subset: str | None = None) -> None:
        try:
            if download:
                Path(root).mkdir(parents=True, exist_ok=True)
            super().__init__(root, download=download, subset=subset)
        except (RuntimeError, URLError, OSError, tarfile.TarError) as error:
            remedy = "check the connection and try again" if download else "download it, or give the folder above SpeechCommands"
            raise DataError(f"no Speech Commands corpus in {root} ({error}): {remedy}") from error

    @property
    def folder(self) -> Path:
        """The unpacked corpus: a data folder for `priming.manifest.read_manifest` and everything built on it."""
        return Path(self._path)

    def __getitem__(self, n: int) -> tuple["Tensor", int, str, str, int]:
        """Read the n-th utterance.

        Returns:
            Samples float32 [1, n] in [-1, 1], their rate (16,000 Hz), the word, the speaker and the number of the utterance.

        Raises:
            audio.errors.AudioError: the file cannot be read.
        """
        import torch

        path, _, word, speaker, number = self.get_metadata(n)
        return torch.from_numpy(read_audio(Path(self._archive) / path))[None], SAMPLE_RATE, word, speaker, number
