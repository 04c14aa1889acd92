"""`app listen`: continuous recognition from the microphone, a file or a pipe."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

from app.actions import Action
from app.detector import Detection
from app.errors import AppError
from app.events import Event, description
from app.keys import Keys
from app.near_misses import NearMiss
from app.portable import on_pause_signal
from app.session import Device, Session, Source

if TYPE_CHECKING:
    from app.recording import DetectionRecorder

log = logging.getLogger("sayonce")

FILE_BLOCK_MS = 400.0  # nobody waits for a file: larger blocks cost less
LIVE_BLOCK_MS = 80.0
PAUSE_KEYS = " p"


@contextmanager
def open_source(source: str | None, device: str | None, pcm: Mapping[str, Any]) -> Iterator[Source]:
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
        yield Source(pcm_blocks(sys.stdin.buffer, block_ms=LIVE_BLOCK_MS, **given))
    elif source is not None:
        yield Source(file_blocks(source, block_ms=FILE_BLOCK_MS), live=False)
    else:
        with quiet_libraries(), Microphone(device, block_ms=LIVE_BLOCK_MS, reconnect=True) as microphone:
            try:
                yield Source(iter(microphone), device=cast(Device, microphone))
            finally:
                if microphone.overflows:
                    log.warning("%d blocks of sound were lost in all", microphone.overflows)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what PortAudio and ALSA print to descriptor 2 out of sight: a device that goes would be told in a dozen lines of their internals.

    Python's own standard error goes on to where it went.
    """
    stream = sys.stderr
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    try:
        ours = stream.fileno() == 2
    except (AttributeError, OSError, ValueError):
        ours = False  # replaced by something that does not write to the descriptor
    replacement = os.fdopen(os.dup(kept), "w", buffering=1, encoding=stream.encoding, errors=stream.errors) if ours else None
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        if replacement is not None:
            stream.flush()
            sys.stderr = replacement
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        if replacement is not None:
            sys.stderr = stream
            replacement.close()
        os.close(null)
        os.close(kept)


def run(
    source: str | None,
    words: str | None,
    model: str | None,
    backend: str,
    device: str | None,
    pcm: Mapping[str, Any],
    near_misses: bool,
    execute: str | None,
    recordings: str | None,
    events: bool,
    gate: bool,
    as_json: bool,
) -> None:
    """Listen until the source ends or the user interrupts."""
    from app.live import Listener
    from app.store import WordStore

    as_json = as_json or events or not sys.stdout.isatty()
    recorder = _recorder(recordings) if recordings is not None else None
    paused = _Pause()
    with ExitStack() as stack:
        stack.enter_context(on_pause_signal(paused.toggle))  # from the start: the signal's default is to end the program
        listener = Listener(words, model, backend, gate=gate) if source is None else None  # a microphone must not wait for the model to be loaded
        opened = stack.enter_context(open_source(source, device, pcm))
        listener = listener or Listener(words, model, backend, gate=gate)  # while a file that cannot be read is refused at once
        names = ", ".join(word.info.word for word in listener.words)
        keys = stack.enter_context(Keys()) if source != "-" and not as_json else None
        hint = "; space pauses" if keys is not None and keys.active else ""
        log.info("listening for %s (%s on %s)%s%s", names, listener.engine.model.name, backend, "" if source else "; Ctrl-C ends", hint)
        outputs: list[Callable[[Event], object]] = []
        action = Action(execute, None if as_json else subprocess.DEVNULL) if execute is not None else None

        def tick() -> None:
            if keys is not None and sum(key in PAUSE_KEYS for key in keys.pressed()) % 2:
                paused.toggle()
            session.muted = paused.muted
            if action is not None:
                action.reap()

        store = WordStore(words) if opened.live else None
        session = Session(listener, opened, store, tick=tick, hear=recorder.hear if recorder else lambda samples, time_s: None)
        if as_json:
            outputs.append(_printer(events, near_misses))
        else:
            from app import terminal

            view = stack.enter_context(terminal.LiveView(listener, session))
            outputs.append(lambda event: view.tell(event, near_misses))
        if recorder is not None:
            stack.callback(recorder.close)
            outputs.append(lambda event: recorder.add(event) if isinstance(event, Detection) else None)
        if action is not None:
            stack.callback(action.close)
            outputs.append(lambda event: action(event) if isinstance(event, Detection) else None)
        for event in session.events():
            for output in outputs:
                output(event)


def _recorder(folder: str) -> "DetectionRecorder":
    """Make what keeps the sound around detections; its module is not even imported when nobody asked for it."""
    from app.recording import DetectionRecorder

    return DetectionRecorder(folder)


class _Pause:
    """Whether the user paused; there before the session is."""

    def __init__(self) -> None:
        self.muted = False

    def toggle(self) -> None:
        self.muted = not self.muted


def _printer(events: bool, near_misses: bool) -> Callable[[Event], None]:
    """Return what prints events as JSON; near misses go to stderr where stdout carries detections alone."""

    def tell(event: Event) -> None:
        if events or isinstance(event, Detection):
            print(json.dumps(description(event, tagged=events), ensure_ascii=False), flush=True)
        elif near_misses and isinstance(event, NearMiss):
            log.info("almost '%s' at %.1f s: score %.2f, needs %.2f", event.word, event.time_s, event.score, event.threshold)

    return tell
