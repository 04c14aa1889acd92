"""`app words`: list, show, set, rename, remove, export, import and upgrade enrolled words."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.enrolment import KEPT, Acceptance
from app.errors import AppError, StoreError
from app.names import clean
from app.store import StoredWord, WordStore

if TYPE_CHECKING:
    from rich.console import RenderableType

    from app.engine import Engine
    from priming.calibration import Calibration

log = logging.getLogger("sayonce")


def description(word: StoredWord) -> dict[str, Any]:
    """Describe a word for JSON: everything but the arrays."""
    return {"word": word.info.word, **word.info.model_dump(mode="json", exclude={"version", "word"})}


def list_words(words: str | None, as_json: bool) -> None:
    """List the enrolled words."""
    store = WordStore(words)
    found = store.words()
    if as_json:
        print(json.dumps([description(word) for word in found], ensure_ascii=False))
        return
    from app.terminal import err, out, words_table

    if found:
        out.print(words_table(found))
    else:
        err.print(f"no word is enrolled in {store.directory}; enroll one with: app enroll WORD", markup=False, soft_wrap=True)


def show(word: str, words: str | None, as_json: bool) -> None:
    """Show what is stored about a word."""
    found = WordStore(words).require(word)
    if as_json:
        print(json.dumps(description(found), ensure_ascii=False))
        return
    from rich.table import Table
    from rich.text import Text

    from app.terminal import out, words_table

    out.print(words_table([found]))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bright_black")
    for name in ("utterance", "score", "speech", "level", "over noise", "heard", "remarks"):
        table.add_column(name)
    for shot, own in zip(found.info.shots, found.info.calibration.own, strict=True):
        figures = f"{own:.1f}", f"{shot.duration_s:.2f} s", f"{shot.level_dbfs:.0f} dB", f"{shot.snr_db:.0f} dB"
        table.add_row(Text(shot.source), *figures, shot.heard_at[:16].replace("T", " "), Text("; ".join(shot.remarks), "yellow"))
    out.print()
    out.print(table)
    out.print()
    out.print(acceptance(found.info.calibration))


def acceptance(calibration: "Calibration") -> "RenderableType":
    """Lay out when a word is accepted, and where background lies beside it."""
    from rich.table import Table

    from priming.calibration import PER_HOUR as RATES

    tail = calibration.tail
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    rate = tail.rate(calibration.threshold)
    if calibration.per_hour:
        meaning = f"aims at {calibration.per_hour:g} false accepts an hour"
    elif calibration.threshold < tail.level:
        meaning = f"set by hand, more than {tail.per_hour:.0f} false accepts an hour"
    else:
        meaning = "set by hand, " + (f"about {rate:.2g}" if rate >= RATES[0] else f"less than {RATES[0]:g}") + " false accepts an hour"
    table.add_row(f"{calibration.threshold:.2f}", f"threshold: {meaning}")
    marks = [
        (max(calibration.own), "the best of its own utterances"),
        (tail.highest, f"the highest of {tail.minutes:.0f} minutes of background"),
        (tail.level, f"background passes this {tail.per_hour:.0f} times an hour"),
        (1.0, "about a twentieth of all background passes this within 1.6 s"),
        (0.0, "ordinary background"),
    ]
    for level, meaning in sorted(marks, reverse=True):
        table.add_row(f"{level:.2f}", meaning, style="bright_black")
    return table


def set_acceptance(word: str, words: str | None, per_hour: float | None, threshold: float | None) -> None:
    """Set when a word is accepted, from what was measured when it was enrolled, and check what it then answers to."""
    wanted, store = Acceptance(per_hour, threshold), WordStore(words)
    if wanted == KEPT:
        raise AppError("nothing to set; give --false-accepts-per-hour or --threshold")
    before, found = store.contents(word), store.require(word)
    earlier, calibration = found.info.calibration, wanted.apply(found.info.calibration)
    calibration.check()
    changed = StoredWord(info=found.info.model_copy(update={"calibration": calibration}), shots=found.shots)
    harmless = calibration.threshold >= earlier.threshold and calibration.per_hour is None  # it fires less, and no rate is stated anew
    engine = None if harmless else _engine_of(found)
    with store.locked():
        if store.contents(word) != before:
            raise StoreError(f"'{found.info.word}' was changed by another program meanwhile; try again")
        if engine is not None:
            from app.safety import check_answers

            check_answers(engine, changed, store.words(), "was not changed")
        store.put(changed)
    if calibration.threshold < calibration.tail.level:  # set by hand: no rate is aimed at there
        log.warning("'%s' now fires more than %.0f times an hour on background", found.info.word, calibration.tail.per_hour)


def _engine_of(word: StoredWord) -> "Engine | None":
    """Load the model that a word was enrolled under; None, with a warning, where it is not here."""
    from app.engine import open_engine
    from priming.errors import ModelError
    from priming.model import load_model

    try:
        here = load_model(word.info.model, check_shapes=False).sha256 == word.info.model_sha256
    except ModelError:
        here = False
    if here:
        return open_engine(word.info.model, "torch")
    log.warning(
        "'%s' is not checked against background and other words: the model that it was enrolled under (%s) is not here",
        *(word.info.word, word.info.model),
    )
    return None


def rename(word: str, new: str, words: str | None) -> None:
    """Give a word another name."""
    WordStore(words).rename(word, new)


def remove(names: list[str], words: str | None) -> None:
    """Forget words."""
    WordStore(words).remove(*names)


def export_words(file: str, names: list[str], words: str | None) -> None:
    """Write words into one file."""
    from app.bundle import write_bundle

    store = WordStore(words)
    chosen = [store.require(name) for name in dict.fromkeys(map(clean, names))] if names else store.words()
    if not chosen:
        raise AppError(f"no word is enrolled in {store.directory}; there is nothing to export")
    write_bundle(Path(file), chosen)


def import_words(file: str, words: str | None, model: str | None, replace: bool, backend: str) -> None:
    """Take over the words of a bundle."""
    from app.bundle import read_bundle, take_over
    from app.engine import open_engine
    from priming.model import ALIASES, built_in_models

    store, found = WordStore(words), read_bundle(Path(file))
    engines: list[Engine] = [open_engine(model, backend)] if model else []
    for name in sorted({word.info.model for word in found} & {*built_in_models(), *ALIASES} - {model}):
        engines.append(open_engine(name, backend))
    for word in take_over(store, found, engines, replace=replace):
        log.warning(
            "'%s' was enrolled under another model (%s), which is not here: it is kept but not listened for; if you have that model, import with "
            '--model FILE and --replace; else try: app words upgrade "%s" --model embedding',
            *(word.info.word, word.info.model, word.info.word),
        )


def upgrade_words(names: list[str], words: str | None, model: str | None, backend: str) -> None:
    """Learn words anew under another model."""
    from app.engine import open_engine
    from app.upgrade import upgrade

    store, engines = WordStore(words), dict[str, "Engine"]()
    chosen = [store.require(name) for name in names] if names else store.words()
    failed = 0
    for word in chosen:
        wanted = model or word.info.model
        try:
            if wanted not in engines:
                engines[wanted] = open_engine(wanted, backend)
            if upgrade(engines[wanted], store, word.info.word):
                log.info("'%s' was learnt anew under the model %s", word.info.word, engines[wanted].model.name)
        except ValueError as error:  # every package's errors for the user are one
            failed += 1
            log.warning("%s", error)
    if failed:
        raise AppError(f"{failed} of {len(chosen)} words were not upgraded and stay as they are")
