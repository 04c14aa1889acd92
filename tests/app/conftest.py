"""What the tests of the command line share: a small network that was never primed, made-up shots, and recordings of the demo's voices."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.ping import Ping, Pong
from wyoming.wake import Detection

from app.cli import main
from app.engine import Engine
from app.live import Listener
from app.server import WakeServer
from app.store import ShotInfo, StoredWord, WordInfo
from audio.files import read_audio, write_wav
from hardware import Shot
from priming.calibration import Calibration
from priming.tail import Tail

VOICES = Path(__file__).resolve().parents[2] / "app" / "demo_voices"
SHA = "0" * 64
TAIL = Tail(level=1.5, per_hour=60.0, spread=0.3, shape=-0.1, highest=2.4, minutes=40.0)


STARTED = """
import sys
from app import cli
log_to_stderr = cli._log_to_stderr
def started():
    print("started", file=sys.stderr, flush=True)
    log_to_stderr()
cli._log_to_stderr = started
sys.exit(cli.main())
"""


@pytest.fixture
def start() -> Callable[..., "subprocess.Popen[bytes]"]:
    """Start the command line as a program and return once it is about to do something; what happens before is the interpreter's."""

    def launch(*arguments: str | Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", STARTED, *(str(argument) for argument in arguments)]
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert program.stderr is not None
        assert program.stderr.readline() == b"started\n"
        return program

    return launch


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A word store of the test's own, and the signal handlers as they were."""
    monkeypatch.setenv("SAYONCE_HOME", str(tmp_path / "home"))
    handler = signal.getsignal(signal.SIGTERM)
    yield tmp_path / "home"
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: status, stdout, stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return run


def make_shot(seed: int = 0, steps: int = 9, inputs: int = 13, neurons: int = 5, features: int = 11) -> Shot:
    """Arrays of plausible shapes; spikes of a number of channels that is no multiple of eight."""
    rng = np.random.default_rng(seed)
    spikes = (rng.random((steps, inputs)) < 0.3).astype(np.uint8)
    shared, recurrent = ((rng.random((steps, count)) < 0.3).astype(np.uint8) for count in (features, neurons))
    return Shot(rng.standard_normal((steps, neurons)).astype(np.float32), spikes, shared, recurrent, rng.standard_normal(7).astype(np.float32))


def make_word(word: str = "lamp", shots: int = 1, sha256: str = SHA, threshold: float = 2.0, duration_s: float = 0.5) -> StoredWord:
    """An enrolled word without a network behind it."""
    about = ShotInfo(source="kitchen.wav", heard_at="2026-01-01T00:00:00+00:00", duration_s=duration_s, end_s=1.5, level_dbfs=-20.0, snr_db=30.0)
    info = WordInfo(
        word=word,
        model="embedding",
        model_sha256=sha256,
        created="2026-01-01T00:00:00+00:00",
        calibration=Calibration(offset=0.5, scale=0.1, threshold=threshold, per_hour=1.0, tail=TAIL, own=(4.5,) * shots),
        lag_s=0.0,
        shots=(about,) * shots,
    )
    return StoredWord(info=info, shots=tuple(make_shot(k) for k in range(shots)))


@pytest.fixture
def new_word() -> Callable[..., StoredWord]:
    return make_word


@pytest.fixture
def new_shot() -> Callable[..., Shot]:
    return make_shot


@pytest.fixture(scope="session")
def enrolled_sound() -> NDArray[np.float32]:
    """ "connect", said once."""
    return read_audio(VOICES / "enroll.flac")


@pytest.fixture(scope="session")
def stream_sound() -> NDArray[np.float32]:
    """Half a minute of other voices."""
    return read_audio(VOICES / "stream.flac")


@pytest.fixture(scope="session")
def other_word(stream_sound: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of "telephone"."""
    said = next(item for item in json.loads((VOICES / "truth.json").read_text()) if item["word"] == "telephone")
    path = tmp_path_factory.mktemp("sounds") / "telephone.wav"
    write_wav(path, stream_sound[round((said["start_s"] - 0.4) * 16_000) : round((said["end_s"] + 0.4) * 16_000)])
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, stream_sound: NDArray[np.float32]) -> Path:
    """A model file with a network of 16 neurons as it is before priming, behind the embedding's encoder."""
    import torch

    from audio.encoder import build_encoder, fit_embedding_encoder
    from audio.running_speech import evidence
    from priming.model import ModelConfig, save_model
    from snn.config import LearnerConfig
    from snn.initialise import initial_weights

    config, constants = fit_embedding_encoder([stream_sound], seed=0)
    heard = stream_sound[: 16_000 * 5]  # ends before "connect" is said
    spikes = build_encoder(config, constants).encode(heard)
    learner = LearnerConfig(inputs=spikes.shape[1], step_ms=config.step_ms, features=(16,), neurons=8, lsg_neurons=8, projection=96)
    decoder = torch.from_numpy(build_encoder(config, constants).decoder())
    weights = initial_weights(learner, torch.from_numpy(spikes.mean(0).astype(np.float32)), seed=0, decoder=decoder)
    weights |= {name: weights[name] - 2 for name in ("log_rate_in", "log_rate_rec")}  # what learns more at once is refused as unsafe
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    about = ModelConfig(name="tiny", encoder=config, learner=learner, running_speech=0.02, provenance={})
    save_model(path, about, weights, constants, spikes, evidence(heard, len(spikes), config.step_ms))
    return path


STEP = 640  # samples of a step of the made-up encoder


class ToneEncoder:
    """Channel c spikes in steps that are louder than 0.1 and whose sign of the mean says c."""

    name, channels, step_ms = "tone", 2, 40.0

    class Stream:
        def __init__(self) -> None:
            self.held = np.zeros(0, np.float32)

        def push(self, samples: NDArray[np.float32]) -> NDArray[np.uint8]:
            self.held = np.concatenate([self.held, samples])
            count = len(self.held) // STEP
            steps, self.held = self.held[: count * STEP].reshape(count, STEP), self.held[count * STEP :]
            loud, mean = np.abs(steps).max(1) > 0.1, steps.mean(1)
            return np.stack([loud & (mean > 0), loud & (mean < 0)], 1).astype(np.uint8)

    def stream(self) -> "ToneEncoder.Stream":
        return self.Stream()


class CountingBackend:
    """Scores word w by a leaky count of spikes of channel w."""

    def __init__(self) -> None:
        self.words = 0

    def deploy(self, words: Sequence[object]) -> None:
        self.words = len(words)
        self.reset()

    def reset(self) -> None:
        self.count = np.zeros(self.words, np.float32)

    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = []
        for row in spikes:
            self.count = 0.8 * self.count + row[: self.words]
            rows.append(0.5 + 0.1 * self.count)  # the calibration of the fake words takes this back
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, self.words), np.float32)


@pytest.fixture
def tone_engine() -> Callable[..., Any]:
    """Make an engine whose answers are known."""

    def engine(sha256: str = SHA) -> Engine:
        model = SimpleNamespace(sha256=sha256, name="embedding", listens_for_running_speech=lambda: None)
        return Engine("embedding", model, CountingBackend(), ToneEncoder())  # type: ignore[arg-type]

    return engine


@pytest.fixture(scope="session")
def tone_stream() -> NDArray[np.float32]:
    """Six seconds: the first word at 1.0-1.5 s, the second at 3.0-3.6 s."""
    rng = np.random.default_rng(0)
    sound = (1e-3 * rng.standard_normal(6 * 16_000)).astype(np.float32)
    time = np.arange(len(sound)) / 16_000
    for sign, start, end in ((1, 1.0, 1.5), (-1, 3.0, 3.6)):
        span = (time >= start) & (time < end)
        sound[span] += sign * (0.3 * np.abs(np.sin(2 * np.pi * 120 * time[span]))).astype(np.float32)
    return sound


class Wyoming:
    """A Wyoming server on the made-up network, and what a client does with it.

    Attributes:
        words: "lights on" and "radio".
    """

    def __init__(self, words: Any) -> None:
        self.words = words

    def run(self, scenario: Callable[[str], Coroutine[Any, Any, None]], words: Any = None, **limits: int) -> None:
        """Serve, and play a scenario against the server; fails where the scenario takes two minutes."""

        async def main() -> None:
            async with WakeServer(words or self.words, **limits).open("tcp://127.0.0.1:0") as uri, asyncio.timeout(120):
                await scenario(uri)

        asyncio.run(main())

    @staticmethod
    def pcm(sound: NDArray[np.float32], width: int = 2, channels: int = 1) -> bytes:
        """Encode sound as signed integers of a width, or unsigned bytes."""
        many = np.repeat(sound[:, None].astype(np.float64), channels, 1)
        if width == 1:
            return (np.round(many * 127) + 128).astype(np.uint8).tobytes()
        if width == 3:
            return (np.round(many * (2**23 - 1)).astype("<i4")[..., None].view(np.uint8).reshape(-1, 4)[:, :3]).tobytes()
        return np.round(many * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes()

    @staticmethod
    async def stream(
        client: AsyncClient, data: bytes, rate: int = 16_000, width: int = 2, channels: int = 1, size: int = 4096, stamped: bool = True
    ) -> None:
        await client.write_event(AudioStart(rate, width, channels, timestamp=0).event())
        for first in range(0, len(data), size):
            at = round(1000 * (first + size) / (rate * width * channels)) if stamped else None
            await client.write_event(AudioChunk(rate, width, channels, data[first : first + size], timestamp=at).event())
        await client.write_event(AudioStop().event())

    @staticmethod
    async def answers(client: AsyncClient, until: Callable[[Event], bool] | None = None, seconds: float = 60.0) -> list[Event]:
        """Collect events until one, or until nothing more comes."""
        found: list[Event] = []
        while True:
            try:
                event = await asyncio.wait_for(client.read_event(), seconds)
            except TimeoutError:
                return found
            if event is None:
                return found
            found.append(event)
            if until is not None and until(event):
                return found

    @staticmethod
    async def said(client: AsyncClient, sound: NDArray[np.float32], **options: Any) -> list[str]:
        """Stream a sound and return the words told; a ping afterwards marks the end of the answers."""
        await Wyoming.stream(client, Wyoming.pcm(sound, options.get("width", 2), options.get("channels", 1)), **options)
        await client.write_event(Ping("end").event())
        events = await Wyoming.answers(client, lambda event: Pong.is_type(event.type))
        return [str(Detection.from_event(event).name) if Detection.is_type(event.type) else event.type for event in events[:-1]]


@pytest.fixture
def wyoming(new_word: Callable[..., StoredWord], tone_engine: Any) -> Wyoming:
    """A server with two words on the made-up network."""
    listener = Listener([new_word("lights on", threshold=2.5), new_word("radio", threshold=2.5)], engine=tone_engine())
    return Wyoming(SimpleNamespace(listener=listener, names=["lights on", "radio"], changed=lambda: False))
