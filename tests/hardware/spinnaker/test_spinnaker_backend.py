"""The backend without a board: what is missing is said in one sentence."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from hardware import BackendError, open_backend
from hardware.spinnaker.backend import SpinnakerBackend
from hardware.spinnaker.machine import Machine, configuration, is_virtual
from snn.config import LearnerConfig

Primed = tuple[LearnerConfig, dict[str, Tensor]]
MakePrimed = Callable[..., Primed]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a configuration; sPyNNaker counts as installed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_DIRS", raising=False)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: True if name in ("spynnaker", "pyNN") else found(name, *rest))
    pytest.importorskip("appdirs")
    return tmp_path


def write(home: Path, *lines: str) -> None:
    (home / ".spynnaker.cfg").write_text("\n".join(lines), encoding="utf-8")


def test_it_opens_by_name_and_says_where_learning_happens() -> None:
    backend = open_backend("spinnaker")
    assert isinstance(backend, SpinnakerBackend)
    assert backend.capabilities.cells == ("board",)
    assert "on the host" in backend.capabilities.plasticity


@pytest.mark.parametrize("cell", ["lif", "alif", "adlif"])
def test_a_model_with_another_cell_is_refused_by_name(make_primed: MakePrimed, cell: str) -> None:
    with pytest.raises(BackendError, match=f"'{cell}'.*--model board"):
        SpinnakerBackend().load(*make_primed(1, cell=cell))


def test_without_spynnaker_it_names_what_to_install(make_primed: MakePrimed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'sayonce\[spinnaker\]'"):
        SpinnakerBackend().load(*make_primed(1, cell="board"))


def test_without_a_configured_board_it_says_where_to_name_one(make_primed: MakePrimed, home: Path) -> None:
    backend = SpinnakerBackend()
    with pytest.raises(BackendError, match=f"{home}/.spynnaker.cfg with machine_name and version"):
        backend.load(*make_primed(1, cell="board"))
    assert not list(home.iterdir())


@pytest.mark.parametrize("lines", [(), ("[Machine]",), ("[Machine]", "machine_name = None"), ("[Reports]", "a = b"), ("[Machine]", "version = 5")])
def test_a_configuration_that_names_no_board(make_primed: MakePrimed, home: Path, lines: tuple[str, ...]) -> None:
    write(home, *lines)
    with pytest.raises(BackendError, match="names no SpiNNaker board"):
        SpinnakerBackend().load(*make_primed(1, cell="board"))


def test_a_damaged_configuration(make_primed: MakePrimed, home: Path) -> None:
    write(home, "machine_name = x")
    with pytest.raises(BackendError, match="no configuration file"):
        SpinnakerBackend().load(*make_primed(1, cell="board"))


def test_a_virtual_board_computes_nothing(make_primed: MakePrimed, home: Path) -> None:
    write(home, "[Machine]", "virtual_board = True", "version = 5")
    with pytest.raises(BackendError, match="a virtual SpiNNaker board computes nothing"):
        SpinnakerBackend().load(*make_primed(1, cell="board"))


@pytest.mark.parametrize("entry", ["machine_name = 192.168.240.253", "machineName = board", "spalloc_server = spinnaker.example.org"])
def test_with_a_board_a_model_loads(make_primed: MakePrimed, home: Path, entry: str) -> None:
    """The board itself is talked to when a word is learnt."""
    write(home, "[Machine]", "version = 5", entry)
    backend = SpinnakerBackend()
    backend.load(*make_primed(1, cell="board"))
    backend.deploy([])


def test_options_override_the_file(home: Path) -> None:
    write(home, "[Machine]", "version = 5", "machine_name = a", "virtual_board = False")
    options: dict[str, Any] = {"machine_name": "b", "version": 3, "spalloc_user": "me"}
    found = configuration(Machine(**options))
    assert {"machinename": "b", "version": "3", "spallocuser": "me"}.items() <= found.items()
    assert not is_virtual(found)
    assert is_virtual(configuration(Machine(virtual_board=True)))
    with pytest.raises(BackendError, match="names no"):
        configuration(Machine(machine_name="None"))
