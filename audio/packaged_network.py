"""Networks that other packages carry: found without importing these packages, known by their SHA-256, run by onnxruntime.

The packages' own modules would pull a microphone library or torch, which listening does without. Any other version of a file is refused: what was
primed, and the thresholds of words, are worth nothing behind other numbers.
"""

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio.errors import AudioError


@dataclass(frozen=True)
class PackagedNetwork:
    """An ONNX file inside an installed package."""

    what: str  # for messages: "the speech embedding"
    module: str  # that carries it
    package: str  # and the package's name and version, as pip takes them
    file: str  # from the module's folder
    sha256: str

    @property
    def remedy(self) -> str:
        """What to do where it is missing or another."""
        return f"reinstall it with: pip install --force-reinstall --no-deps {self.package}"

    def find(self) -> Path:
        """Find the file among the installed packages.

        Raises:
            AudioError: the package or its file is missing.
        """
        spec = importlib.util.find_spec(self.module)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            path = Path(folder) / self.file
            if path.is_file():
                return path
        raise AudioError(f"{self.what} (package {self.package.replace('==', ' ')}) is not installed; {self.remedy}")

    def open(self, path: Path) -> Any:
        """Load the network with one thread.

        Args:
            path: of `find`.

        Returns:
            An onnxruntime.InferenceSession.

        Raises:
            AudioError: the file is not the one whose SHA-256 is known.
        """
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            known = f"{self.what.removeprefix('the ')} of {self.package.replace('==', ' ')}"
            raise AudioError(f"{path} is not the {known} (SHA-256 {found[:12]}..., expected {self.sha256[:12]}...); {self.remedy}")
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # builds of 2026 report their use to their maker unless told not to
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
