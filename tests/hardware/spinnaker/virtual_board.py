"""Run by test_virtual_board.py in a process of its own, whose home folder configures a virtual board; prints JSON."""

import json
import sys
from typing import Any

import numpy as np
import torch

from hardware import BackendError
from hardware.spinnaker.board import SpynnakerChip
from hardware.spinnaker.circuit import INPUT, circuit
from snn.config import LearnerConfig
from snn.initialise import initial_weights

SPIKES = (np.random.default_rng(0).random((24, 12)) < 0.3).astype(np.uint8)


def network(seed: int, **sizes: Any) -> tuple[LearnerConfig, dict[str, torch.Tensor]]:
    config = LearnerConfig(**({"inputs": 12, "step_ms": 40.0, "cell": "board", "features": (10, 6), "neurons": 16, "lsg_neurons": 6} | sizes))
    return config, initial_weights(config, torch.full((config.inputs,), 0.25), seed)


def differences(chip: SpynnakerChip, held: Any) -> float:
    """The largest difference between weights read back and our quantiser's."""
    found = [chip.weights(source, name) - matrix for name, p in held.populations.items() for source, matrix in p.weights.items()]
    return float(max(np.abs(part).max() for part in found))


def lifecycle() -> dict[str, Any]:
    """Build, map, load, run, read back; run again from rest and on; map again with other weights and one more word."""
    config, weights = network(0)
    rng = np.random.default_rng(1)
    untaught = torch.zeros_like(weights["w_in"]), torch.zeros_like(weights["w_rec"])
    change = tuple(torch.from_numpy(rng.normal(0, 0.3, part.shape)) for part in untaught)
    chip = SpynnakerChip(dry=True)
    held = chip.load(circuit(config, weights, [untaught]))
    first = chip.run(SPIKES, rest=True)
    out: dict[str, Any] = {"shapes": {name: z.shape for name, z in first.items()}, "spikes": int(sum(z.sum() for z in first.values()))}
    out["readback"] = differences(chip, held)
    out["placement"] = chip.placement()
    out["again"] = [next(iter(chip.run(SPIKES[:5], rest=rest).values())).shape[0] for rest in (True, False)]
    out["times"] = [np.asarray(t).tolist() for t in chip._populations[INPUT]._vertex.send_buffer_times]
    from spynnaker.pyNN.data import SpynnakerDataView

    out["step_ms"] = SpynnakerDataView.get_hardware_time_step_ms()
    changed = chip.load(circuit(config, weights, [untaught, (change[0], change[1])]))
    chip.run(SPIKES, rest=True)
    out["remapped"] = differences(chip, changed)
    out["changed"] = float(np.abs(changed.populations["word 1"].weights[INPUT] - held.populations["word 0"].weights[INPUT]).max())
    chip.close()
    return out


def capacity() -> dict[str, Any]:
    """More learning networks than there are cores."""
    config, weights = network(0, inputs=2, features=(2,), neurons=2, lsg_neurons=2)
    untaught = torch.zeros_like(weights["w_in"]), torch.zeros_like(weights["w_rec"])
    chip = SpynnakerChip(dry=True)
    chip.load(circuit(config, weights, [untaught] * 8))
    try:
        chip.run(SPIKES[:, :2], rest=True)
    except BackendError as error:
        return {"error": str(error)}
    finally:
        chip.close()
    return {"error": ""}


if __name__ == "__main__":
    print(json.dumps({"lifecycle": lifecycle, "capacity": capacity}[sys.argv[1]]()))
