"""The demo: finds the word in other voices, tells the truth beside it, and draws one figure."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app import demo_material
from app.errors import AppError
from audio.files import write_wav

Cli = Callable[..., tuple[int, str, str]]


def test_the_figure_is_written_and_every_utterance_is_listed(cli: Cli, tmp_path: Path, tiny_model: Path) -> None:
    status, out, err = cli("demo", "--out", tmp_path / "figures", "--model", tiny_model)
    assert (status, err) == (0, "")
    for said in demo_material.load(None).truth:
        assert said.word in out
    assert "of 5 found" in out
    assert (tmp_path / "figures" / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_the_shipped_model_finds_every_connect_and_nothing_else(cli: Cli, tmp_path: Path) -> None:
    from priming.model import DEFAULT_MODEL, built_in_models

    if DEFAULT_MODEL not in built_in_models():
        pytest.skip("no model ships with this checkout")
    status, out, _ = cli("demo", "--out", tmp_path)
    assert status == 0
    assert "5 of 5 found, 0 false accepts among 12 other words" in out


def test_real_recordings_take_the_place_of_the_voices(cli: Cli, tmp_path: Path, tiny_model: Path, enrolled_sound: NDArray[np.float32]) -> None:
    write_wav(tmp_path / "enroll.wav", enrolled_sound)
    write_wav(tmp_path / "stream.wav", np.concatenate([enrolled_sound, enrolled_sound]))
    (tmp_path / "truth.json").write_text(json.dumps([{"word": "connect", "voice": "me", "start_s": 0.5, "end_s": 1.0}]))
    status, out, _ = cli("demo", "--out", tmp_path, "--data", tmp_path, "--model", tiny_model)
    assert status == 0
    assert "of 1 found" in out


def test_a_corpus_of_words_becomes_a_stream(shared_data: Path) -> None:
    from priming.manifest import read_manifest

    material = demo_material.load(str(shared_data))
    roles = {row.word: row.word_role for row in read_manifest(shared_data)}
    assert all(roles[said.word] == "validation" for said in material.truth)
    assert sum(said.word == material.word for said in material.truth) == demo_material.TIMES
    assert len(material.truth) > demo_material.TIMES
    ends = [0.0] + [said.end_s for said in material.truth]
    assert all(said.start_s > end for said, end in zip(material.truth, ends, strict=False))
    assert ends[-1] < len(material.stream) / 16_000


def test_folders_without_a_demo_are_refused(cli: Cli, tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        status, out, err = cli("demo", "--data", folder, "--out", tmp_path)
        assert (status, out, err.count("\n")) == (2, "", 1)
    (tmp_path / "truth.json").write_text("[1")
    with pytest.raises(AppError, match=r"truth\.json"):
        demo_material.load(str(tmp_path))
    (tmp_path / "truth.json").write_text("[]")
    with pytest.raises(AppError, match="no enroll recording"):
        demo_material.load(str(tmp_path))
