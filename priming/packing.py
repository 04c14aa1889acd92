"""Spikes in few bytes, for what must travel inside a model file.

Both encoders code a value as a thermometer: a channel for each level, level after level, `channels / levels` values each. The spikes of one value
brought together in a byte take few of the 256 patterns, and a value's bytes one after the other repeat themselves, which a general compressor
finds: the embedding's spikes of continuous speech take 23 kB a minute instead of 108 kB as plain bits. The packer tries how many channels to bring
together and needs to know no encoder.
"""

import lzma
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

HEADER = struct.Struct("<III")  # steps, channels, levels
MOST_LEVELS = 8  # channels that fit into a byte
SAMPLE_STEPS = 2000  # on which the arrangement is chosen
MAX_BYTES = 1 << 28  # of the unpacked spikes: a damaged or malicious file must not fill the memory


def pack_spikes(spikes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack spikes without loss.

    Args:
        spikes: [T, I] of 0 and 1.

    Returns:
        uint8 [n].
    """
    steps, channels = spikes.shape
    options = [levels for levels in range(1, MOST_LEVELS + 1) if channels % levels == 0]
    levels = min(options, key=lambda levels: len(zlib.compress(_arranged(spikes[:SAMPLE_STEPS], levels).tobytes(), 1)))
    content = HEADER.pack(steps, channels, levels) + lzma.compress(_arranged(spikes, levels).tobytes())
    return np.frombuffer(content, np.uint8)


def unpack_spikes(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo `pack_spikes`.

    Args:
        packed: uint8 [n].

    Returns:
        uint8 [T, I] of 0 and 1.

    Raises:
        ValueError: this is nothing that `pack_spikes` wrote, or it is damaged.
    """
    content = packed.tobytes()
    try:
        steps, channels, levels = HEADER.unpack(content[: HEADER.size])
        if not 1 <= levels <= MOST_LEVELS or channels % levels or steps * channels > MAX_BYTES:
            raise ValueError("packed spikes describe themselves wrongly")
        values = channels // levels
        decompressor = lzma.LZMADecompressor()
        plain = decompressor.decompress(content[HEADER.size :], max_length=steps * values + 1)
    except (lzma.LZMAError, struct.error) as error:
        raise ValueError("packed spikes are damaged") from error
    if len(plain) != steps * values or not decompressor.eof:
        raise ValueError("packed spikes are damaged")
    grouped = np.frombuffer(plain, np.uint8).reshape(values, steps)
    return np.unpackbits(grouped[:, :, None], axis=2, count=levels).transpose(1, 2, 0).reshape(steps, channels)


def _arranged(spikes: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    """Bring the spikes of one value and step into a byte: [T, I] to [values, T]."""
    steps, channels = spikes.shape
    return np.packbits(spikes.reshape(steps, levels, channels // levels).transpose(2, 0, 1), axis=2)[:, :, 0]
