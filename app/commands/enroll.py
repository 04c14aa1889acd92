"""`app enroll`: learn a word from the microphone or from files."""

import json
import logging
import sys
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.enrolment import Acceptance, Utterance, judge, learn, same_model_or_refuse, store_shots
from app.errors import AppError
from app.names import clean
from app.safety import Neighbour
from app.store import StoredWord, WordStore

if TYPE_CHECKING:
    from app.engine import Engine

log = logging.getLogger("sayonce")

LONGEST_FILE_S = 30.0  # an utterance with its surroundings; an hour of sound is a mistake
PATIENCE_S = 30.0  # for somebody to speak
TRY_S = 15.0


def run(
    word: str,
    files: list[str],
    model: str | None,
    words: str | None,
    backend: str,
    device: str | None,
    replace: bool,
    per_hour: float | None,
    threshold: float | None,
    forget_utterance: bool,
    as_json: bool,
) -> None:
    """Enroll a word; on a terminal, ask whether to keep it."""
    from app.engine import open_engine

    name, store, acceptance = clean(word), WordStore(words), Acceptance(per_hour, threshold)
    if device is not None and files:
        raise AppError("--device is for the microphone; use it without --from")
    earlier = None if replace else store.get(name)
    utterances = [read(file) for file in files]  # all of them are judged before anything is loaded or stored
    engine = open_engine(model or _usual_model(store, earlier), backend)
    same_model_or_refuse(earlier, engine)
    if not utterances:
        engine.prepare()  # before the word is said, nobody waits
    while True:
        heard = utterances or [record(name, device)]
        shots = [learn(engine, utterance) for utterance in heard]
        before = store.contents(name)
        stored, neighbour = store_shots(engine, store, name, shots, replace=replace, acceptance=acceptance, forget_utterance=forget_utterance)
        if as_json:
            print(json.dumps(_description(stored, len(heard), neighbour), ensure_ascii=False))
            return
        from app import terminal

        terminal.show_enrolled(stored, len(heard), neighbour)
        if not terminal.interactive() or not _decide(engine, store, name, before, device, recorded=not utterances):
            return


def read(file: str) -> Utterance:
    """Read and judge a recording.

    Raises:
        AudioError: it cannot be read, or nothing can be learnt from it.
    """
    from audio.files import read_audio

    return judge(read_audio(file, max_seconds=LONGEST_FILE_S), file)


def record(name: str, device: str | None) -> Utterance:
    """Record one utterance, showing the level, and judge it.

    Raises:
        AudioError: there is no microphone, nobody spoke, or nothing can be learnt from what was said.
    """
    from rich.live import Live
    from rich.text import Text

    from app.terminal import err, level_bar
    from audio.errors import AudioError
    from audio.microphone import Microphone
    from audio.voice import RecorderState, UtteranceRecorder

    recorder = UtteranceRecorder()
    samples: NDArray[np.float32] | None = None

    def meter() -> Text:
        prompt = Text("listening ", "bold red") if recorder.state is RecorderState.RECORDING else Text("say ") + Text(name, "bold") + Text(" ")
        return prompt + level_bar(recorder.level_dbfs)

    with Microphone(device) as microphone:
        if not err.is_terminal:
            print(f"say {name}", file=sys.stderr, flush=True)
        with Live(console=err, get_renderable=meter, refresh_per_second=15, transient=True):
            for block in microphone:
                samples = recorder.push(block)
                if samples is not None:
                    break
                if recorder.state is RecorderState.WAITING and recorder.heard_s > PATIENCE_S:
                    raise AudioError(f"nobody spoke for {PATIENCE_S:.0f} s; check the microphone with `app devices`, or use --from FILE")
        source = f"microphone {microphone.device.name}" if microphone.device else "microphone"
    assert samples is not None  # a microphone ends by an error only
    return judge(samples, source)


def _usual_model(store: WordStore, earlier: StoredWord | None) -> str | None:
    """Return the model to use when none is named: the word's own, else that of most words, else the default."""
    if earlier is not None:
        return earlier.info.model
    models = Counter(word.info.model for word in store.words()).most_common(1)
    return models[0][0] if models else None


def _decide(engine: "Engine", store: WordStore, name: str, before: bytes | None, device: str | None, recorded: bool) -> bool:
    """Ask what to do with the word just stored.

    Args:
        engine: with the word's model.
        store: that holds the word.
        name: of the word.
        before: its file before this enrolment.
        device: of the microphone.
        recorded: whether it came from the microphone and can be recorded again.

    Returns:
        True to record once more.
    """
    from app import terminal

    choices = {"k": "keep", "r": "retry", "d": "discard", "t": "try it now"}
    if not recorded:
        del choices["r"]
    written = store.contents(name)
    while (answer := terminal.ask("", choices)) == "t":
        try:
            _try(engine, store, device)
        except ValueError as error:  # no microphone: the word is as good as before
            log.warning("%s", error)
    if answer == "k":
        return False
    if not store.undo(name, written, before):
        log.warning("'%s' was changed by another program meanwhile and stays as it is", name)
    elif answer == "d":
        terminal.out.print("discarded")
    return answer == "r"


def _try(engine: "Engine", store: WordStore, device: str | None) -> None:
    """Listen for a while."""
    from app import terminal
    from app.live import Listener
    from audio.microphone import Microphone

    listener = Listener(store.words(), engine=engine)
    terminal.out.print(f"listening for {TRY_S:.0f} s; Ctrl-C ends", style="bright_black")
    try:
        with Microphone(device, block_ms=80.0) as microphone, terminal.LiveView(listener) as view:
            for block in microphone:
                for detection in listener.push(block):
                    view.show(detection)
                if listener.time_s > TRY_S:
                    return
    except KeyboardInterrupt:
        return


def _description(word: StoredWord, new: int, neighbour: Neighbour | None) -> dict[str, object]:
    """Describe an enrolment for JSON."""
    nearest_word = None
    if neighbour is not None:
        nearest_word = {"word": neighbour.word, "score": round(neighbour.score, 4), "threshold": neighbour.threshold}
    return {
        "word": word.info.word,
        "shots": len(word.info.shots),
        "model": word.info.model,
        "threshold": word.info.calibration.threshold,
        "false_accepts_per_hour": word.info.calibration.per_hour,
        "heard": [shot.model_dump(mode="json") for shot in word.info.shots[-new:]],
        "nearest": nearest_word,
    }
