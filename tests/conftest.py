"""Fixtures that tests of several packages share: the recordings beside the repository, and a virtual microphone."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

# One thread, here and in the programs that tests start: sums of floating-point numbers depend on how many threads share them, to the last bit.
os.environ["OMP_NUM_THREADS"] = "1"
# Before anything imports Triton: without a GPU its kernels are interpreted, not compiled.
os.environ.setdefault("TRITON_INTERPRET", "0" if shutil.which("nvidia-smi") else "1")

RATE = 16_000  # Hz, of the virtual microphone


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test, or fail it where everything must be present (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recordings beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "manifest.csv").is_file():
        skip_or_fail("the recordings of ../shared/data are not here")
    return folder


class VirtualMicrophone:
    """A PulseAudio server of its own whose default source records what is played into its default sink.

    Args:
        folder: for the server's files.

    Attributes:
        environment: for programs run by a test: their default microphone is this one.
    """

    def __init__(self, folder: str) -> None:
        own = {"XDG_RUNTIME_DIR": folder, "PULSE_SERVER": f"unix:{folder}/pulse/native", "PULSE_COOKIE": f"{folder}/cookie", "HOME": folder}
        self.environment = {**os.environ, **own}
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server."""
        missing = [name for name in ("pulseaudio", "pactl", "pacat") if shutil.which(name) is None]
        if missing:
            skip_or_fail(f"no virtual microphone: {', '.join(missing)} not installed (apt install pulseaudio pulseaudio-utils libasound2-plugins)")
        sink = f"module-null-sink sink_name=vmic rate={RATE} channels=1 format=s16le norewinds=1"
        modules = ["-L", "module-native-protocol-unix auth-anonymous=1", "-L", sink]
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--log-level=error", *modules]
        self._server = subprocess.Popen(command, env=self.environment)
        for _ in range(100):
            if subprocess.run(["pactl", "set-default-source", "vmic.monitor"], capture_output=True, env=self.environment).returncode == 0:
                break
            time.sleep(0.1)
        else:
            skip_or_fail("no virtual microphone: the PulseAudio server did not start")
        subprocess.run(["pactl", "set-default-sink", "vmic"], check=True, env=self.environment)

    def kill(self) -> None:
        """End the server as a crash would."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(10)
            self._server = None

    def play(self, samples: NDArray[np.float32], before_s: float = 0.0) -> "subprocess.Popen[bytes]":
        """Speak float32 [n] at 16 kHz into the microphone after a wait, without blocking; wait() on what is returned."""
        quiet = np.zeros(round(before_s * RATE), np.float32)
        pcm = (np.clip(np.concatenate([quiet, samples]), -1, 32767 / 32768) * 32768).astype("<i2")
        command = ["pacat", "--playback", "--raw", f"--rate={RATE}", "--channels=1", "--format=s16le", "--latency-msec=100"]
        with tempfile.TemporaryFile() as file:  # a pipe would hold two seconds and block
            file.write(pcm.tobytes())
            file.seek(0)
            return subprocess.Popen(command, stdin=file, env=self.environment)


@pytest.fixture(scope="session")
def virtual_microphone() -> Iterator[VirtualMicrophone]:
    """A microphone that hears what the test plays; PortAudio in this process and in subprocesses records from it."""
    try:
        import sounddevice
    except OSError:
        skip_or_fail("no virtual microphone: PortAudio is missing (apt install libportaudio2)")
    with tempfile.TemporaryDirectory(prefix="vm") as folder, pytest.MonkeyPatch.context() as patch:
        microphone = VirtualMicrophone(folder)
        try:
            microphone.start()
            for name in ("XDG_RUNTIME_DIR", "PULSE_SERVER", "PULSE_COOKIE"):
                patch.setenv(name, microphone.environment[name])
            microphone.environment = dict(os.environ)
            sounddevice._terminate()  # PortAudio lists the devices once, and this one is new
            sounddevice._initialize()
            if not any(device["max_input_channels"] for device in sounddevice.query_devices()):
                skip_or_fail("no virtual microphone: PortAudio does not see it (apt install libasound2-plugins)")
            yield microphone
        finally:
            microphone.kill()
            sounddevice._terminate()
            sounddevice._initialize()


@pytest.fixture
def mortal_microphone() -> Iterator[VirtualMicrophone]:
    """A microphone for programs that a test starts, whose server the test may kill and start again."""
    with tempfile.TemporaryDirectory(prefix="vm") as folder:
        microphone = VirtualMicrophone(folder)
        try:
            microphone.start()
            yield microphone
        finally:
            microphone.kill()
