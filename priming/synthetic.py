"""Synthetic words: said by the speech synthesisers of the machine that primes, in many voices, and kept in its cache folder.

Two programs of different kinds: espeak-ng computes formants, in several accents, throats, pitches and tempos; flite's voices are made from recordings
of people. Chosen are short words that differ in one phoneme from many others, as those that users' commands are confused with. They are words of the
data folder's own sentences, none held back or like one that is. A voice's words lie one after another in one sound file, in front of the noise of a
quiet room, with their edges in a table, so that they are read like words of a sentence.
"""

import hashlib
import io
import itertools
import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio.constants import SAMPLE_RATE
from audio.samples import as_samples
from priming.atomic import write_atomically
from priming.clip import SYNTHETIC_CORPUS, Clip
from priming.confusable import neighbours
from priming.corpus import aligned_recordings
from priming.errors import DataError
from priming.homophones import forbidden, pronunciations, syllables
from priming.manifest import ALIGNMENTS, held_back_words, read_alignments, read_manifest

PROGRAMS = {"espeak-ng": ("--version",), "flite": ("--version",)}  # and how each tells its version
ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
THROATS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "Andrea", "Annie", "Michael", "Denis", "steph")
FLITE_VOICES = ("awb", "kal16", "rms", "slt")
SPEEDS = (120, 190)  # words a minute
PITCHES = (25, 75)  # of espeak-ng's 0 to 99
STRETCHES = (0.85, 1.3)  # of flite's durations
MOST_SYLLABLES = 2
SPEECH_DBFS = -24.0
LEVEL_SPREAD_DB = 3.0
ROOM_DBFS = -58.0
BEFORE_S, AFTER_S = 0.16, 0.04  # of room that belongs to a clip: enough for its noise floor to be found
GAP_S = 0.3  # between the words of a file
EDGE_DB = 40.0  # an utterance begins and ends where it is this far below its loudest 10 ms
SHORTEST_S, LONGEST_S = 0.1, 1.5  # of an utterance that was said as it should be


@dataclass(frozen=True)
class Voice:
    """One way to speak.

    Attributes:
        name: of its sound file.
        program: one of PROGRAMS.
        arguments: that choose the voice, its pitch and its tempo.
    """

    name: str
    program: str
    arguments: tuple[str, ...]


def choose_voices(count: int, seed: int = 0) -> list[Voice]:
    """Draw voices: every fourth is one of flite's, the others are espeak-ng's.

    Args:
        count: how many.
        seed: of accents, throats, pitches and tempos.

    Returns:
        That many voices of different names.
    """
    rng = np.random.default_rng(seed)
    accents, throats = itertools.cycle(rng.permutation(ACCENTS).tolist()), itertools.cycle(rng.permutation(THROATS).tolist())
    recorded = itertools.cycle(FLITE_VOICES)
    voices = []
    for number in range(count):
        if number % 4 == 3:
            name, stretch = next(recorded), rng.uniform(*STRETCHES)
            voices.append(Voice(f"flite-{number}-{name}", "flite", ("-voice", name, "--setf", f"duration_stretch={stretch:.2f}")))
        else:
            voice = f"{next(accents)}+{next(throats)}"
            speed, pitch = (int(rng.integers(*ends, endpoint=True)) for ends in (SPEEDS, PITCHES))
            voices.append(Voice(f"espeak-{number}-{voice}", "espeak-ng", ("-v", voice, "-s", str(speed), "-p", str(pitch))))
    return voices


def choose_words(data_dir: Path, count: int) -> list[str]:
    """Choose what to say: short words with many others that differ from them in one phoneme.

    Args:
        data_dir: the data folder, whose sentences the words are taken from.
        count: at most so many words.

    Returns:
        Words of one or two syllables, sorted; none that holds or sounds like a held-back word, no two that sound alike.

    Raises:
        DataError: the folder is unusable, or the pronouncing dictionary is not installed.
    """
    held = held_back_words(read_manifest(data_dir), read_alignments(data_dir))
    said = Counter(word.word for _, words in aligned_recordings(data_dir) for word in words if word.word_role == "prime")
    by_sound: dict[tuple[str, ...], str] = {}
    for word, _ in sorted(said.items(), key=lambda item: (-item[1], item[0])):
        if len(word) > 1 and word.isalpha() and 1 <= syllables(word) <= MOST_SYLLABLES and forbidden(word, held) is None:
            by_sound.setdefault(pronunciations(word)[0], word)
    sounds = list(by_sound)
    rank = np.argsort(-neighbours(sounds), kind="stable")[:count]
    return sorted(by_sound[sounds[k]] for k in rank.tolist())


def synthetic_clips(
    data_dir: Path, cache: Path, words: int = 400, voices: int = 32, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[Clip]:
    """Let the machine's synthesisers say words; what an earlier run synthesised is read.

    Args:
        data_dir: the data folder: its sentences give the words, its roles say which are held back.
        cache: parent of the folder of sounds.
        words: how many words.
        voices: how many voices, each a speaker of its own.
        seed: of voices, levels and the room's noise.
        progress: called with voices done and voices in all.

    Returns:
        The clips, ordered by voice and word.

    Raises:
        DataError: a program is missing or fails, the folder is unusable, or the pronouncing dictionary is not installed.
    """
    chosen, speaking = choose_words(data_dir, words), choose_voices(voices, seed)
    versions = {program: _version(program) for program in sorted({voice.program for voice in speaking})}
    settings = [SPEECH_DBFS, LEVEL_SPREAD_DB, ROOM_DBFS, BEFORE_S, AFTER_S, GAP_S, seed]
    parts = json.dumps([chosen, [astuple(voice) for voice in speaking], versions, settings])
    store = cache / f"synthetic-{hashlib.sha256(parts.encode()).hexdigest()[:16]}"
    if not (store / ALIGNMENTS).is_file():
        _synthesise(store, chosen, speaking, seed, progress)
    clips = []
    for path, spoken in read_alignments(store):
        speaker = f"synthetic {path.rpartition('.')[0]}"
        for word in spoken:
            start_s, end_s = word.start_s - BEFORE_S, word.end_s + AFTER_S
            labels = (SYNTHETIC_CORPUS, "en", word.word, "prime", speaker, "train")
            clips.append(Clip(data_dir, path, *labels, start_s, end_s, end_s - start_s, store=store))
    return clips


def _version(program: str) -> str:
    """Ask a program for its version.

    Raises:
        DataError: it is missing.
    """
    if shutil.which(program) is None:
        raise DataError(
            f"{program} is missing: install the package of that name (apt install {' '.join(PROGRAMS)}), or prime without synthetic words"
        )
    told = subprocess.run((program, *PROGRAMS[program]), capture_output=True, text=True, check=False)
    return " ".join((told.stdout + told.stderr).split()).partition("Data at")[0]  # espeak-ng tells its folder there


def _synthesise(store: Path, words: Sequence[str], voices: Sequence[Voice], seed: int, progress: Callable[[int, int], None] | None) -> None:
    """Write a sound file for each voice, and at the end the table: without it nothing is taken for finished."""
    store.mkdir(parents=True, exist_ok=True)
    lines = ["path,word,word_role,start_s,end_s,score"]
    with ThreadPoolExecutor() as pool:
        for number, voice in enumerate(voices):
            rng = np.random.default_rng([seed, number])
            said = pool.map(lambda word, voice=voice: speak(word, voice), words)
            sounds = list(said)
            samples, edges = _lay_out(sounds, rng)
            lines += [
                f"{voice.name}.flac,{word},prime,{start_s:.4f},{end_s:.4f},0.0"
                for word, sound, (start_s, end_s) in zip(words, sounds, edges, strict=True)
                if SHORTEST_S <= len(sound) / SAMPLE_RATE <= LONGEST_S
            ]
            write_atomically(store / f"{voice.name}.flac", _flac(samples))
            if progress:
                progress(number + 1, len(voices))
    write_atomically(store / ALIGNMENTS, ("\n".join(lines) + "\n").encode())


def speak(word: str, voice: Voice) -> NDArray[np.float32]:
    """Let a voice say a word.

    Args:
        word: what to say.
        voice: who says it.

    Returns:
        float32 [n] at 16 kHz, cut to where the sound begins and ends, root mean square 1; empty if the program said nothing.

    Raises:
        DataError: the program failed.
    """
    import soundfile
    import soxr

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "word.wav"
        output = ("-t", word, "-o", str(path)) if voice.program == "flite" else ("-w", str(path), word)
        done = subprocess.run((voice.program, *voice.arguments, *output), capture_output=True, text=True, check=False)
        if done.returncode or not path.is_file():
            raise DataError(f"{voice.program} failed to say {word!r} as {voice.name}: {(done.stderr or 'no sound').strip().splitlines()[-1]}")
        samples, rate = soundfile.read(path, dtype="float32")
    return trimmed(as_samples(soxr.resample(samples, rate, SAMPLE_RATE), voice.name))


def trimmed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut an utterance to where its sound begins and ends, root mean square 1, faded over 5 ms: float32 [m]; empty without any sound."""
    frame = SAMPLE_RATE // 100
    power = np.square(samples[: len(samples) // frame * frame], dtype=np.float64).reshape(-1, frame).mean(axis=1)
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (-EDGE_DB / 10))
    if not len(loud):
        return np.zeros(0, np.float32)
    piece = samples[loud[0] * frame : (loud[-1] + 1) * frame].copy()
    ramp = np.linspace(0.0, 1.0, frame // 2, dtype=np.float32)
    piece[: len(ramp)] *= ramp
    piece[-len(ramp) :] *= ramp[::-1]
    piece /= np.float32(np.sqrt(np.mean(np.square(piece, dtype=np.float64))))
    return piece


def _lay_out(said: Sequence[NDArray[np.float32]], rng: np.random.Generator) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """Put utterances one after another into a quiet room; their edges in seconds come with it."""
    gap = round(GAP_S * SAMPLE_RATE)
    starts = np.cumsum([gap, *(len(sound) + gap for sound in said)])
    samples = _room(int(starts[-1]), rng)
    for start, sound in zip(starts.tolist(), said, strict=False):
        level = SPEECH_DBFS + rng.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB)
        peak = float(np.max(np.abs(sound), initial=1.0))
        samples[start : start + len(sound)] += sound * np.float32(min(10 ** (level / 20), 0.9 / peak))
    return samples, [(start / SAMPLE_RATE, (start + len(sound)) / SAMPLE_RATE) for start, sound in zip(starts.tolist(), said, strict=False)]


def _room(length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the noise of a quiet room: flat below 200 Hz, falling by 6 dB an octave above, nothing below 50 Hz."""
    frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    gain = (frequency >= 50.0) / np.maximum(frequency, 200.0)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * gain, length)
    room: NDArray[np.float32] = (noise * (10 ** (ROOM_DBFS / 20) / np.sqrt(np.mean(np.square(noise))))).astype(np.float32)
    return room


def _flac(samples: NDArray[np.float32]) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
