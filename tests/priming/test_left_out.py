"""Words of the family that tasks leave out, to validate on words of its kind."""

from typing import Any

import numpy as np
import pytest

from priming.errors import DataError
from priming.run import prime
from priming.workspace import LEFT_OUT, open_workspace


def test_words_can_be_named_on_one_line(toy_config: Any, tmp_path: Any) -> None:
    assert toy_config(tmp_path / "m.safetensors", left_out="bird, dog,two").left_out == ("bird", "dog", "two")
    assert toy_config(tmp_path / "m.safetensors", left_out="").left_out == ()


def test_what_is_left_out_is_validated_on_and_in_no_task(toy_config: Any, toy_workspace: Any, tmp_path: Any) -> None:
    out = sorted({clip.word for clip in toy_workspace.features.clips})[:3]
    workspace = open_workspace(toy_config(tmp_path / "m.safetensors", left_out=out), lambda line: None)
    kept = workspace.validation[LEFT_OUT]
    assert {clip.word for clip in kept.clips} == set(out)
    everything = workspace.features
    number = everything.clips.index(kept.clips[1])
    first = np.zeros(1, np.int64)
    assert np.array_equal(kept.take(first + 1, first), everything.take(first + number, first))  # as it is, not augmented
    tasks = [workspace.sampler.draw(step, 4, 2, 2) for step in range(30)]
    assert not {everything.clips[i].word for task in tasks for i in (*task.support[:, 0], *task.queries)} & set(out)


def test_a_run_tells_what_it_reaches_on_them(toy_config: Any, toy_workspace: Any, tmp_path: Any) -> None:
    out, lines = sorted({clip.word for clip in toy_workspace.features.clips})[:3], []
    prime(toy_config(tmp_path / "m.safetensors", steps=2, validations=1, left_out=out), announce=lines.append)
    assert any(line.startswith("step 2, left-out validation words: ") for line in lines)


def test_unknown_words_are_refused(toy_config: Any, tmp_path: Any) -> None:
    with pytest.raises(DataError, match="left_out names words that the family does not have: nonesuch"):
        open_workspace(toy_config(tmp_path / "m.safetensors", left_out=("nonesuch",)), lambda line: None)
