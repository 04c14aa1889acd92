"""torchaudio beside a PyTorch without CUDA."""

import subprocess
import sys
from pathlib import Path

import audio.torchaudio_guard


def test_the_python_parts_work() -> None:
    torchaudio = audio.torchaudio_guard.import_torchaudio()
    assert torchaudio.functional.melscale_fbanks(257, 0.0, 8000.0, 40, 16_000).shape == (257, 40)
    assert torchaudio.datasets.SPEECHCOMMANDS.__name__ == "SPEECHCOMMANDS"


def test_what_needs_the_extension_says_so() -> None:
    program = """
import importlib, sys
real = importlib.import_module
def broken(name, *rest):
    if name == "torchaudio" and "torchaudio._extension" not in sys.modules:
        raise OSError("libc10_cuda.so: cannot open shared object file")
    return real(name, *rest)
importlib.import_module = broken
from audio.torchaudio_guard import import_torchaudio
torchaudio = import_torchaudio()
try:
    torchaudio.functional.forced_align(None, None)
except RuntimeError as error:
    assert "forced_align" in str(error), error
else:
    raise AssertionError("no error")
"""
    folder = Path(audio.torchaudio_guard.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", program], cwd=folder).returncode == 0
