r"""A prototypical network (Snell et al. 2017) that does not spike: a small residual network of convolutions over time.

After TC-ResNet8 (Choi et al. 2019): the bands are channels and every convolution runs along time. A clip becomes the mean over time of what the last
block gives; behind the speech embedding, whose own mean over time tells words apart already, that mean is appended. With :math:`\hat f` the vector of
a clip divided by its norm and :math:`p_w` the mean of those of a word's supports,

.. math:: P(w \mid q) \propto \exp\left(\kappa \cos(\hat f_q, p_w)\right)
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from priming.analog import AnalogConfig, AnalogEncoder, values
from priming.atomic import write_atomically
from priming.errors import ModelError
from priming.features import last_steps

MOST_PARAMETERS = 200_000  # that the comparison allows
HEADER = "sayonce-protonet"
TEMPERATURE = 10.0  # kappa at the start; learned


class ProtonetConfig(BaseModel):
    """Shape of the network and how it was primed, as written into the file's header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: AnalogConfig
    clip_ms: float
    widths: tuple[int, ...]  # channels of the first convolution and of each block
    kernels: tuple[int, int]  # frames of the first convolution and of the others
    stride: int  # of every block
    append_mean: bool
    provenance: dict[str, Any] = {}

    @property
    def steps(self) -> int:
        """Frames heard of a clip."""
        return round(self.clip_ms / self.features.step_ms)

    @property
    def hop_ms(self) -> float:
        """Time between frames of the last block."""
        return self.features.step_ms * float(self.stride ** (len(self.widths) - 1))


def default_config(kind: Literal["log-mel", "whitened"], clip_ms: float) -> ProtonetConfig:
    """Return the largest network of its kind within the limit of parameters."""
    features = AnalogConfig(kind=kind)
    if kind == "log-mel":
        return ProtonetConfig(features=features, clip_ms=clip_ms, widths=(28, 40, 56, 84), kernels=(3, 9), stride=2, append_mean=False)
    return ProtonetConfig(features=features, clip_ms=clip_ms, widths=(152, 152), kernels=(3, 3), stride=1, append_mean=True)


class _Block(nn.Module):
    """Two convolutions and what passes around them."""

    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        pad = kernel // 2
        self.path = nn.Sequential(
            nn.Conv1d(before, after, kernel, stride, pad, bias=False),
            nn.BatchNorm1d(after),
            nn.ReLU(),
            nn.Conv1d(after, after, kernel, 1, pad, bias=False),
            nn.BatchNorm1d(after),
        )
        around: list[nn.Module] = []
        if before != after or stride != 1:
            around = [nn.Conv1d(before, after, 1, stride, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.around = nn.Sequential(*around)

    def forward(self, x: Tensor) -> Tensor:
        """From [clips, before, T] to [clips, after, T / stride]."""
        return functional.relu(self.path(x) + self.around(x))


class Protonet(nn.Module):
    """From features to one vector a clip.

    Args:
        config: of the network.
    """

    def __init__(self, config: ProtonetConfig) -> None:
        super().__init__()
        first, other = config.kernels
        self._append_mean = config.append_mean
        self.stem = nn.Conv1d(config.features.width, config.widths[0], first, 1, first // 2, bias=False)
        pairs = zip(config.widths[:-1], config.widths[1:], strict=True)
        self.blocks = nn.Sequential(*(_Block(before, after, other, config.stride) for before, after in pairs))
        self.log_temperature = nn.Parameter(torch.tensor(TEMPERATURE).log())
        self.log_share = nn.Parameter(torch.zeros(()))  # of the blocks' vector beside the mean of the features

    def frames(self, x: Tensor) -> Tensor:
        """From features [clips, T, width] to what the last block gives, [clips, T / stride ** blocks, D]; every frame has heard what is around it."""
        heard = x if self._append_mean else x - x.mean(1, keepdim=True)  # of log-mel bands, the level and the microphone
        found: Tensor = self.blocks(self.stem(heard.transpose(1, 2)))
        return found.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """From features [clips, T, width] to unit vectors [clips, D]."""
        found = functional.normalize(self.frames(x).mean(1))
        if not self._append_mean:
            return found
        return functional.normalize(torch.cat([self.log_share.exp() * found, functional.normalize(x.mean(1))], 1))

    def loss(self, supports: Tensor, queries: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate an episode of one shot.

        Args:
            supports: features [words, T, width].
            queries: features [queries, T, width].
            labels: [queries] index of the word.

        Returns:
            Cross-entropy, mean over queries, and the share of queries whose word is nearest.
        """
        vectors = self(torch.cat([supports, queries]))
        scores = vectors[len(supports) :] @ vectors[: len(supports)].T
        return functional.cross_entropy(scores * self.log_temperature.exp(), labels), (scores.argmax(1) == labels).float().mean()


def parameters(network: nn.Module) -> int:
    """Count the numbers that are learned."""
    return sum(parameter.numel() for parameter in network.parameters())


@dataclass(frozen=True)
class PrimedProtonet:
    """A primed network and the features that it hears."""

    config: ProtonetConfig
    network: Protonet
    encoder: AnalogEncoder
    sha256: str = ""  # of its file

    @torch.no_grad()
    def vector(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vector [D] of float32 [n] samples at 16 kHz."""
        heard = values(last_steps(self.encoder.encode(samples), self.config.steps), self.config.features.kind)
        found: NDArray[np.float32] = self.network.eval()(torch.from_numpy(heard)[None])[0].numpy()
        return found


def save_protonet(path: Path, config: ProtonetConfig, weights: Mapping[str, Tensor], constants: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a primed network.

    Args:
        path: file to write.
        config: of the network.
        weights: its state.
        constants: of its features.
    """
    from safetensors.torch import save

    tensors = {f"weight/{name}": tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    tensors |= {f"constant/{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in constants.items()}
    write_atomically(path, save(tensors, metadata={HEADER: config.model_dump_json()}))


def load_protonet(path: Path) -> PrimedProtonet:
    """Read a primed network.

    Raises:
        ModelError: the file is missing, damaged or foreign.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"][HEADER]
        config, tensors = ProtonetConfig.model_validate_json(header), load(content)
        parts: dict[str, dict[str, Tensor]] = {"weight": {}, "constant": {}}
        for name, tensor in tensors.items():
            part, _, key = name.partition("/")
            parts[part][key] = tensor
        network = Protonet(config)
        network.load_state_dict(parts["weight"])
        encoder = AnalogEncoder(config.features, {name: tensor.numpy() for name, tensor in parts["constant"].items()})
    except (OSError, SafetensorError, ValidationError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path} is no prototypical network that benchmarks/protonet.py wrote: prime one, or copy it again") from error
    return PrimedProtonet(config, network, encoder, hashlib.sha256(content).hexdigest())
