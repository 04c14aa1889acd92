"""`app manifest`: the first of three commands to a model of one's own language."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from audio.files import write_wav

Cli = Callable[..., tuple[int, str, str]]


def test_a_folder_is_labelled_once(cli: Cli, tmp_path: Path) -> None:
    for word in range(9):
        for speaker in range(9):
            file = tmp_path / f"word{word}" / f"s{speaker}_0.wav"
            file.parent.mkdir(exist_ok=True)
            write_wav(file, np.full(1600, 0.01, np.float32))
    for number in range(5):
        write_wav(tmp_path / f"{number}.wav", np.full(1600, 0.01, np.float32))
    status, out, err = cli("manifest", tmp_path, "--language", "xx")
    assert status == 0
    assert out.splitlines()[-1] == str(tmp_path / "manifest.csv")
    assert [line.split() for line in out.splitlines()[1:4]] == [["prime", "3", "3", "9"], ["validation", "3", "6", "18"], ["test", "3", "3", "9"]]
    assert "left out 0.wav: its path is not of the layout" in err
    assert "left out 2 more recordings" in err
    assert "no recordings of noise" in err
    written = (tmp_path / "manifest.csv").read_text()
    assert written.count("\n") == 82
    status, out, err = cli("manifest", tmp_path, "--seed", "1")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--replace" in err
    assert (tmp_path / "manifest.csv").read_text() == written
    assert cli("manifest", tmp_path, "--seed", "1", "--replace")[0] == 0
    assert (tmp_path / "manifest.csv").read_text() != written


def test_a_folder_that_cannot_be_labelled_is_refused(cli: Cli, tmp_path: Path) -> None:
    for arguments in ([tmp_path / "none"], [tmp_path], [tmp_path, "--layout", "{word}"]):
        status, out, err = cli("manifest", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), arguments
    assert not (tmp_path / "manifest.csv").exists()
