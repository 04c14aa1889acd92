"""sPyNNaker's own figures of a network on a virtual board, found in a process of its own.

    python -m hardware.spinnaker.virtual FOLDER WORDS

prints one JSON object about the network that `virtual_figures` put into the folder. That folder is the home of the process, in which a virtual board
is configured: the user's configuration is not touched, and sPyNNaker's state and messages stay away from this process.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hardware.backend import BackendError
from hardware.spinnaker.machine import FILE, require
from snn.config import LearnerConfig

VERSIONS = {"spin3": 3, "spin5": 5}
TICKS = 100  # that are run
CONFIG, WEIGHTS = "learner.json", "weights.safetensors"
TIMEOUT_S = 900.0


def virtual_figures(config: LearnerConfig, weights: Mapping[str, Tensor], board: str, words: int) -> dict[str, int]:
    """Let sPyNNaker map and load a network on a virtual board.

    Args:
        config: of the learner, with the cell `board`.
        weights: primed.
        board: spin3 or spin5.
        words: learning networks beside the feature population.

    Returns:
        `cores`, `chips`, `sdram_bytes`; see `hardware.spinnaker.board.SpynnakerChip.placement`.

    Raises:
        BackendError: sPyNNaker is not installed, or it could not map the network.
    """
    from safetensors.torch import save_file

    require()
    with tempfile.TemporaryDirectory(prefix="sayonce-virtual-") as home:
        folder = Path(home)
        (folder / f".{FILE}").write_text(f"[Machine]\nversion = {VERSIONS[board]}\nvirtual_board = True\n", encoding="utf-8")
        (folder / CONFIG).write_text(config.model_dump_json(), encoding="utf-8")
        save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_CONFIG")} | {"HOME": home}
        command = [sys.executable, "-m", "hardware.spinnaker.virtual", home, str(words)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise BackendError(f"sPyNNaker did not map the network within {TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise BackendError((done.stderr.strip() or "sPyNNaker failed without a word").splitlines()[-1])
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Map the network that lies in the folder, and print what it took."""
    import numpy as np
    import torch
    from safetensors.torch import load_file

    from hardware.spinnaker.board import SpynnakerChip
    from hardware.spinnaker.circuit import circuit

    folder, words = Path(sys.argv[1]), int(sys.argv[2])
    config = LearnerConfig.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
    weights = load_file(folder / WEIGHTS)
    untaught = torch.zeros_like(weights["w_in"]), torch.zeros_like(weights["w_rec"])
    chip = SpynnakerChip(dry=True)
    try:
        chip.load(circuit(config, weights, [untaught] * words))
        chip.run(np.zeros((TICKS, config.inputs), np.uint8), rest=True)
        print(json.dumps(chip.placement()))
    except BackendError as error:
        sys.exit(str(error))
    finally:
        chip.close()


if __name__ == "__main__":
    main()
