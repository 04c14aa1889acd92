"""Sound files, any rate, channel count, format and bit depth that libsndfile reads, as 16 kHz mono.

A file is read in blocks and resampled as a stream, so an hour takes no more memory than a second; reading a file at once joins those blocks. What is
broken is refused with the reason: a file that ends before its header says so would otherwise be heard as a word that breaks off.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.errors import AudioError
from audio.resample import StreamResampler
from audio.samples import as_samples

OPEN_ENDED = 0x7FFF_0000  # a WAV chunk of this size and more was written by a program that could not know the length


def _check_wav_length(path: Path) -> None:
    """Refuse a WAV file whose data chunk is longer than the file; libsndfile would read what there is without a word."""
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        size = path.stat().st_size
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                if size - file.tell() < length < OPEN_ENDED:
                    raise AudioError(f"{path}: truncated, {size - file.tell()} of {length} bytes of sound are there; copy or record it again")
                return
            file.seek(length + length % 2, 1)


def _check_ogg_end(path: Path) -> None:
    """Refuse an Ogg file without its last page, for the same reason."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return
        file.seek(max(0, size - 0x1_0100))  # a page has at most 65,307 bytes
        tail = file.read()
    page = tail.rfind(b"OggS")
    header = tail[page : page + 27]
    lacing = tail[page + 27 : page + 27 + header[26]] if page >= 0 and len(header) == 27 else b""
    if not lacing or len(tail) - page < 27 + len(lacing) + sum(lacing) or not header[5] & 4:
        raise AudioError(f"{path}: truncated, the end of the Ogg stream is missing; copy or record it again")


def _open(path: Path) -> Any:
    """Open a sound file, or say in one line why it cannot be used."""
    import soundfile

    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not a sound file")
    try:
        if path.is_file():
            if path.stat().st_size == 0:
                raise AudioError(f"{path}: the file is empty (0 bytes)")
            _check_wav_length(path)
            _check_ogg_end(path)
        file = soundfile.SoundFile(str(path))
    except PermissionError:
        raise AudioError(f"{path}: no permission to read this file") from None
    except (soundfile.SoundFileError, RuntimeError, TypeError, OSError):  # TypeError: headerless formats, which are known by their suffix
        raise AudioError(f"{path}: not a readable sound file; WAV, FLAC, Ogg, Opus and MP3 are understood") from None
    if file.frames == 0:
        file.close()
        raise AudioError(f"{path}: holds no sound (0 samples)")
    return file


def _blocks(path: Path, file: Any, resampler: StreamResampler, block_ms: float) -> Iterator[NDArray[np.float32]]:
    """Read an open file to its end and close it."""
    import soundfile

    frames, done = max(1, round(file.samplerate * block_ms / 1000)), 0
    with file:
        while True:
            try:
                block = file.read(frames, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, RuntimeError):
                raise AudioError(f"{path}: damaged after {done / file.samplerate:.2f} s; copy or record it again") from None
            done += len(block)
            if not len(block):
                break
            with np.errstate(invalid="ignore", over="ignore"):  # what is no number is refused in one line, not warned of in another
                mixed = block.mean(axis=1)
            samples = resampler.push(as_samples(mixed, str(path)))
            if len(samples):
                yield samples
        if done < file.frames < 2**62:  # libsndfile's mark for a length that it does not know is near 2**63
            raise AudioError(f"{path}: truncated, {done} of {file.frames} samples are there; copy or record it again")
        samples = resampler.flush()
        if len(samples):
            yield samples


def file_blocks(path: str | Path, block_ms: float = 100.0) -> Iterator[NDArray[np.float32]]:
    """Read a sound file as a stream, in constant memory.

    Args:
        path: a file that libsndfile reads. It is opened and its header checked at once, not at the first block.
        block_ms: about how much sound a block holds.

    Returns:
        An iterator of float32 [n] blocks, 16 kHz mono in [-1, 1], none of them empty. It raises AudioError where the file turns out damaged or
        truncated, or holds NaN.

    Raises:
        AudioError: the file is missing, empty, no sound file, truncated, or of an unusable sample rate.
    """
    path = Path(path)
    file = _open(path)
    try:
        resampler = StreamResampler(file.samplerate)
    except AudioError as error:
        file.close()
        raise AudioError(f"{path}: {error}") from None
    return _blocks(path, file, resampler, block_ms)


def read_audio(path: str | Path, max_seconds: float | None = None) -> NDArray[np.float32]:
    """Read a whole sound file.

    Args:
        path: a file that libsndfile reads.
        max_seconds: the longest file to accept; no limit when None.

    Returns:
        float32 [n], 16 kHz mono in [-1, 1], n > 0.

    Raises:
        AudioError: as `file_blocks`, or the file is longer than `max_seconds`.
    """
    blocks, length = [], 0
    for block in file_blocks(path, block_ms=1000.0):
        blocks.append(block)
        length += len(block)
        if max_seconds is not None and length > max_seconds * SAMPLE_RATE:
            raise AudioError(f"{path}: longer than {max_seconds:g} s; cut it to the part that is wanted")
    if not length:
        raise AudioError(f"{path}: holds no sound (0 samples)")
    return np.concatenate(blocks)


def write_wav(path: str | Path, samples: NDArray[np.float32]) -> None:
    """Write 16 kHz mono as a 16-bit WAV file.

    Args:
        path: the file to write.
        samples: float32 [n] in [-1, 1]; what lies beyond is clipped.

    Raises:
        AudioError: samples that are no audio, or a path that cannot be written.
    """
    import soundfile

    checked = as_samples(samples, str(path))
    try:
        soundfile.write(str(path), checked, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        raise AudioError(f"{path}: cannot be written; check the folder and its permissions ({error})") from None
