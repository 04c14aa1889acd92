"""Make the utterances of `app demo`: one voice says the word once, then other voices say it among other words.

Run it with the programs `espeak-ng` and `flite` installed (Debian packages of the same names; versions 1.51 and 2.2 made the files in this folder):

    python app/demo_voices/synthesise.py [--out DIR]

It writes three files, 16 kHz mono:

* `enroll.flac`: the word, once, by the voice that is enrolled, with half a second of room before it and after it;
* `stream.flac`: about half a minute in which the other voices speak, one after the other, with pauses of 0.6 to 1.5 s;
* `truth.json`: a list of `{"word", "voice", "start_s", "end_s"}`, one for every utterance of the stream, edges in seconds from the stream's start.

The voices differ on purpose: two synthesisers of different kinds (flite's voices are made from recordings of people, espeak-ng computes formants),
women and men, American, Scottish and two English accents, slow and fast. The enrolled voice is not among those of the stream. No other word begins
like the enrolled one, so that what is detected is the word and not its beginning. Everything is seeded: the same programs give the same files. Behind
the voices lies stationary noise that falls with frequency, as in a quiet room, because listening never hears digital silence.
"""

import argparse
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz
SEED = 0
WORD = "connect"
FLOOR_DBFS = -58.0  # root mean square of the room
SPEECH_DBFS = -24.0  # root mean square of an utterance, before its own level is drawn
LEVEL_SPREAD_DB = 3.0  # speakers stand nearer or farther: levels are drawn within this distance of SPEECH_DBFS
PAUSE_S = (0.6, 1.5)
LEAD_S = 0.5  # room before and after an enrolled utterance
EDGE_DB = 40.0  # an utterance begins and ends where it is this far below its loudest 10 ms


@dataclass(frozen=True)
class Voice:
    """One speaker.

    Args:
        name: as truth.json calls it.
        program: "flite" or "espeak-ng".
        arguments: that choose the voice, its pitch and its rate.
    """

    name: str
    program: str
    arguments: tuple[str, ...]


ENROLLED = Voice("man, American", "flite", ("-voice", "rms"))
VOICES = {
    voice.name: voice
    for voice in (
        Voice("woman, American", "flite", ("-voice", "slt", "--setf", "duration_stretch=0.95")),
        Voice("man, Scottish", "flite", ("-voice", "awb", "--setf", "duration_stretch=1.1")),
        Voice("man, American, monotone", "flite", ("-voice", "kal16")),
        Voice("woman, English, synthetic", "espeak-ng", ("-v", "en-gb-x-rp+f3", "-s", "150", "-p", "60")),
        Voice("man, American, synthetic", "espeak-ng", ("-v", "en-us+m3", "-s", "135", "-p", "40")),
        Voice("woman, Lancaster, synthetic", "espeak-ng", ("-v", "en-gb-x-gbclan+f2", "-s", "165", "-p", "45")),
    )
}
STREAM = (
    ("kitchen", "woman, American"),
    ("seven lights", "man, Scottish"),
    (WORD, "woman, American"),
    ("orange", "man, American, synthetic"),
    ("telephone", "woman, English, synthetic"),
    (WORD, "man, Scottish"),
    ("garden door", "man, American, monotone"),
    ("music", "woman, Lancaster, synthetic"),
    (WORD, "woman, English, synthetic"),
    ("computer", "man, Scottish"),
    ("window", "man, American, monotone"),
    (WORD, "man, American, synthetic"),
    ("kitchen", "woman, Lancaster, synthetic"),
    ("telephone", "woman, American"),
    (WORD, "man, American, monotone"),
    ("orange", "man, Scottish"),
    ("window", "woman, English, synthetic"),
)


def speak(text: str, voice: Voice) -> NDArray[np.float64]:
    """Let a voice say something.

    Args:
        text: the words.
        voice: who says them.

    Returns:
        float64 [n] at 16 kHz, cut to where the sound begins and ends, root mean square 1.

    Raises:
        RuntimeError: the program is missing or failed.
    """
    import soundfile
    import soxr

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "utterance.wav"
        output = ("-t", text, "-o", str(path)) if voice.program == "flite" else ("-w", str(path), text)
        try:
            subprocess.run((voice.program, *voice.arguments, *output), check=True, capture_output=True)
        except FileNotFoundError as error:
            raise RuntimeError(f"{voice.program} is missing: install the package of that name") from error
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{voice.program} failed: {error.stderr.decode(errors='replace').strip()}") from error
        samples, rate = soundfile.read(path, dtype="float64")
    return trim(soxr.resample(samples, rate, SAMPLE_RATE))


def trim(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut an utterance to where its sound begins and ends.

    Args:
        samples: float64 [n] at 16 kHz, n >= 160, not all zero.

    Returns:
        float64 [m], m <= n a multiple of 160, root mean square 1, faded over 5 ms at both ends.
    """
    frame = SAMPLE_RATE // 100
    power = np.square(samples[: len(samples) // frame * frame]).reshape(-1, frame).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-EDGE_DB / 10))
    cut = samples[loud[0] * frame : (loud[-1] + 1) * frame].copy()
    fade = np.linspace(0.0, 1.0, SAMPLE_RATE // 200)
    cut[: len(fade)] *= fade
    cut[-len(fade) :] *= fade[::-1]
    return cut / float(np.sqrt(np.mean(np.square(cut))))


def room(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the noise of a quiet room: flat below 200 Hz, falling by 6 dB an octave above, nothing below 50 Hz.

    Args:
        length: samples at 16 kHz.
        rng: draws the noise.

    Returns:
        float64 [length] of root mean square FLOOR_DBFS.
    """
    frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    gain = (frequency >= 50.0) / np.maximum(frequency, 200.0)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * gain, length)
    return noise * float(10 ** (FLOOR_DBFS / 20) / np.sqrt(np.mean(np.square(noise))))


def enrolment(rng: np.random.Generator) -> NDArray[np.float64]:
    """Make the one utterance that is learnt.

    Args:
        rng: draws the room.

    Returns:
        float64 [n] at 16 kHz.
    """
    utterance = speak(WORD, ENROLLED) * 10 ** (SPEECH_DBFS / 20)
    lead = int(LEAD_S * SAMPLE_RATE)
    samples = room(len(utterance) + 2 * lead, rng)
    samples[lead : lead + len(utterance)] += utterance
    return samples


def stream(rng: np.random.Generator) -> tuple[NDArray[np.float64], list[dict[str, str | float]]]:
    """Make the stream that is listened to.

    Args:
        rng: draws pauses, levels and the room.

    Returns:
        float64 [n] at 16 kHz, and for each utterance its word, voice, start_s and end_s.
    """
    truth: list[dict[str, str | float]] = []
    placed: list[tuple[int, NDArray[np.float64]]] = []
    now = 0
    for word, name in STREAM:
        now += int(rng.uniform(*PAUSE_S) * SAMPLE_RATE)
        level = SPEECH_DBFS + rng.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB)
        utterance = speak(word, VOICES[name]) * 10 ** (level / 20)
        placed.append((now, utterance))
        end = now + len(utterance)
        truth.append({"word": word, "voice": name, "start_s": round(now / SAMPLE_RATE, 3), "end_s": round(end / SAMPLE_RATE, 3)})
        now = end
    samples = room(now + int(PAUSE_S[1] * SAMPLE_RATE), rng)
    for start, utterance in placed:
        samples[start : start + len(utterance)] += utterance
    return samples, truth


def main() -> None:
    """Write the three files."""
    import soundfile

    parser = argparse.ArgumentParser(description="Make the utterances of `app demo` with espeak-ng and flite.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to (default: this script's)")
    out: Path = parser.parse_args().out
    rng = np.random.default_rng(SEED)
    learnt = enrolment(rng)
    heard, truth = stream(rng)
    out.mkdir(parents=True, exist_ok=True)
    for name, samples in (("enroll.flac", learnt), ("stream.flac", heard)):
        if np.abs(samples).max() >= 1.0:
            raise RuntimeError(f"{name} would clip: lower SPEECH_DBFS")
        soundfile.write(out / name, samples, SAMPLE_RATE, subtype="PCM_16")
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
