"""`app listen`: continuous recognition from the microphone, a file or a pipe."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import AppError

log = logging.getLogger("sayonce")

FILE_BLOCK_MS = 400.0  # nobody waits for a file: larger blocks cost less
LIVE_BLOCK_MS = 80.0


@contextmanager
def open_source(source: str | None, device: str | None, pcm: Mapping[str, Any]) -> Iterator[Iterator[NDArray[np.float32]]]:
    """Open what is listened to.

    Args:
        source: a file, `-` for raw PCM on stdin, None for the microphone.
        device: of the microphone.
        pcm: rate, channels and sample_format of raw PCM; None where not given.

    Yields:
        Blocks of float32 [n] at 16 kHz.

    Raises:
        AppError: options that belong to another source.
        AudioError: the source cannot be opened.
    """
    from audio.files import file_blocks
    from audio.microphone import Microphone
    from audio.pcm import pcm_blocks

    given = {name: value for name, value in pcm.items() if value is not None}
    if given and source != "-":
        raise AppError("--rate, --channels and --format describe raw PCM; use them with --from -")
    if device is not None and source is not None:
        raise AppError("--device is for the microphone; use it without --from")
    if source == "-":
        yield pcm_blocks(sys.stdin.buffer, block_ms=LIVE_BLOCK_MS, **given)
    elif source is not None:
        yield file_blocks(source, block_ms=FILE_BLOCK_MS)
    else:
        with Microphone(device, block_ms=LIVE_BLOCK_MS) as microphone:
            try:
                yield iter(microphone)
            finally:
                if microphone.overflows:
                    log.warning("%d blocks of sound were lost: this machine is too slow or too busy", microphone.overflows)


def run(source: str | None, words: str | None, model: str | None, backend: str, device: str | None, pcm: Mapping[str, Any], as_json: bool) -> None:
    """Listen until the source ends or the user interrupts."""
    from app.live import Listener

    listener = Listener(words, model, backend) if source is None else None  # a microphone must not wait for the model to be loaded
    with open_source(source, device, pcm) as blocks:
        listener = listener or Listener(words, model, backend)  # while a file that cannot be read is refused at once
        names = ", ".join(word.info.word for word in listener.words)
        log.info("listening for %s (%s on %s)%s", names, listener.engine.model.name, backend, "" if source else "; Ctrl-C ends")
        if as_json or not sys.stdout.isatty():
            for detection in _hear(listener, blocks):
                print(json.dumps(detection._asdict(), ensure_ascii=False), flush=True)
            return
        from app import terminal

        with terminal.LiveView(listener) as view:
            for detection in _hear(listener, blocks):
                view.show(detection)


def _hear(listener: Any, blocks: Iterator[NDArray[np.float32]]) -> Iterator[Any]:
    """Yield detections until the blocks end or the user interrupts; what is being recognised then is still told."""
    try:
        for block in blocks:
            yield from listener.push(block)
    except KeyboardInterrupt:
        pass
    yield from listener.flush()
