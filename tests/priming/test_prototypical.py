"""The prototypical network is as small as the comparison allows, and its file gives back what was saved."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audio.embedding_encoder import fit_embedding_constants
from audio.mel import MelEncoderConfig, MelStream
from audio.speech_embedding import EmbeddingStream
from priming.analog import RANGES, AnalogConfig, AnalogEncoder, log_mel_constants, values
from priming.errors import ModelError
from priming.prototypical import MOST_PARAMETERS, Protonet, default_config, load_protonet, parameters, save_protonet

CLIP_MS = 1760.0
NOISE = (0.1 * np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)


@pytest.fixture(scope="module")
def mel() -> AnalogEncoder:
    return AnalogEncoder(AnalogConfig(kind="log-mel"), log_mel_constants())


@pytest.fixture(scope="module")
def whitened() -> AnalogEncoder:
    return AnalogEncoder(
        AnalogConfig(kind="whitened"), fit_embedding_constants([np.random.default_rng(1).standard_normal((500, 96)).astype(np.float32)])
    )


@pytest.mark.parametrize("kind", ["log-mel", "whitened"])
def test_the_network_keeps_to_the_limit(kind: str) -> None:
    count = parameters(Protonet(default_config(kind, CLIP_MS)))  # type: ignore[arg-type]
    assert MOST_PARAMETERS * 0.9 < count <= MOST_PARAMETERS


def test_log_mel_survives_its_bits(mel: AnalogEncoder) -> None:
    expected = np.log10(MelStream(MelEncoderConfig(bands=40, step_ms=10.0), mel.constants["filters"]).push(NOISE))
    low, high = RANGES["log-mel"]
    assert ((expected > low) & (expected < high)).all()
    assert np.abs(values(mel.encode(NOISE), "log-mel") - expected).max() < 0.51 * (high - low) / 255


def test_the_decoder_reads_the_bits(mel: AnalogEncoder) -> None:
    bits = mel.encode(NOISE)
    assert bits @ mel.decoder().T + RANGES["log-mel"][0] == pytest.approx(values(bits, "log-mel"), abs=1e-4)


def test_the_whitened_embedding_survives_its_bits(whitened: AnalogEncoder) -> None:
    constants = whitened.constants
    expected = (EmbeddingStream().push(NOISE) - constants["mean"]) @ constants["transform"] / constants["scale"]
    assert np.abs(values(whitened.encode(NOISE), "whitened") - np.clip(expected, -5, 5)).max() < 0.021


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, len(NOISE)), max_size=4))
def test_features_do_not_depend_on_how_a_stream_is_cut(mel: AnalogEncoder, cuts: list[int]) -> None:
    stream = mel.stream()
    pieces = [stream.push(piece) for piece in np.split(NOISE, sorted(cuts))]
    assert np.array_equal(np.concatenate(pieces), mel.encode(NOISE))


def written(folder: Path, encoder: AnalogEncoder, **changes: object) -> tuple[Path, Protonet]:
    config = default_config("log-mel", CLIP_MS).model_copy(update=changes)
    torch.manual_seed(0)
    network = Protonet(config).eval()
    save_protonet(folder / "net.safetensors", config, network.state_dict(), encoder.constants)
    return folder / "net.safetensors", network


def test_a_file_gives_back_the_network(tmp_path: Path, mel: AnalogEncoder) -> None:
    path, network = written(tmp_path, mel)
    vector = load_protonet(path).vector(NOISE)
    heard: NDArray[np.float32] = values(mel.encode(NOISE), "log-mel")
    padded = np.concatenate([np.repeat(heard[:1], 176 - len(heard), axis=0), heard])
    with torch.no_grad():
        expected = network(torch.from_numpy(padded)[None])[0].numpy()
    assert vector == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"x" * 40, None])
def test_a_foreign_file_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="no prototypical network") as caught:
        load_protonet(path)
    assert "\n" not in str(caught.value)


def test_the_loss_falls_towards_the_nearest_support() -> None:
    torch.manual_seed(0)
    network = Protonet(default_config("log-mel", CLIP_MS))
    words = torch.randn(4, 60, 40)
    with torch.no_grad():
        loss, right = network.loss(words, words.clone(), torch.arange(4))
        wrong, none = network.loss(words, words.clone(), torch.arange(4).roll(1))
    assert float(right) == 1
    assert float(none) == 0
    assert float(loss) < float(wrong)
