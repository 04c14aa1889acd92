"""sPyNNaker in this process: imported when first needed, configured, silent, and its failures in one sentence.

Which board is used stands in the user's `~/.spynnaker.cfg`, which sPyNNaker insists on; `Machine` overrides single entries of its section [Machine]
through a `spynnaker.cfg` in the folder from which sPyNNaker is started, its own way to do that. That folder, a temporary one, also takes its reports
and everything that it prints. sPyNNaker holds one network a process.
"""

import atexit
import contextlib
import logging
import tempfile
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hardware.backend import BackendError

FILE = "spynnaker.cfg"
LOG = "spynnaker.log"
NO_ROOM = "the network does not fit on the board: take a larger one or fewer words; app map counts the cores"
KEEP_REPORTS = {"mode": "Production"}  # sPyNNaker's other modes write reports that nobody asked for


@dataclass(frozen=True)
class Machine:
    """Entries of [Machine] that differ from the user's file; None leaves what stands there. See docs/spinnaker.md."""

    machine_name: str | None = None  # IP address or host name of a board
    version: int | None = None  # 3 for a SpiNN-3, 5 for a SpiNN-5
    spalloc_server: str | None = None  # of a machine that lends boards
    spalloc_user: str | None = None
    virtual_board: bool | None = None  # maps and loads, computes nothing
    time_scale_factor: int | None = None  # slower than the machine's own milliseconds by this; the length of a step in ms when None everywhere

    def entries(self) -> dict[str, str]:
        """Return the entries that are given."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}


def configuration(machine: Machine) -> dict[str, str]:
    """Return the entries of [Machine] that hold, the user's and those of `machine`.

    Raises:
        BackendError: there is no configuration, or it names no board.
    """
    places = _places()
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise BackendError(f"no SpiNNaker board is configured: write {places[-1]} with machine_name and version of your board (docs/spinnaker.md)")
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(found)
    except (ConfigError, UnicodeDecodeError) as error:
        raise BackendError(f"{found} is no configuration file: {str(error).splitlines()[0]}") from error
    # sPyNNaker reads names without regard to case and underscores.
    section = {key.lower().replace("_", ""): value for key, value in (parser["Machine"].items() if parser.has_section("Machine") else ())}
    own = section | {key.replace("_", ""): value for key, value in machine.entries().items()}
    own = {key: value for key, value in own.items() if value.lower() != "none"}
    if not (own.keys() & {"machinename", "spallocserver", "remotespinnakerurl"} or is_virtual(own)):
        raise BackendError(f"{found} names no SpiNNaker board: give machine_name and version of yours in [Machine] (docs/spinnaker.md)")
    return own


def is_virtual(entries: dict[str, str]) -> bool:
    """Return whether these entries of [Machine] ask for a virtual board."""
    return entries.get("virtualboard", "").lower() in ("true", "yes", "on", "1")


def _places() -> list[Path]:
    """List where sPyNNaker looks for the user's configuration, the home folder last."""
    require()
    import appdirs

    return [Path(folder) / f".{FILE}" for folder in (appdirs.site_config_dir(), appdirs.user_config_dir(), Path.home())]


def require() -> None:
    """Check that sPyNNaker is installed.

    Raises:
        BackendError: it is not.
    """
    from importlib.util import find_spec

    if find_spec("spynnaker") is None or find_spec("pyNN") is None:
        raise BackendError("the backend spinnaker needs sPyNNaker: pip install 'sayonce[spinnaker]'")


class Session:
    """sPyNNaker from setup to end.

    Args:
        machine: what differs from the user's configuration.
        step_ms: real time of a step.
    """

    _running: "Session | None" = None  # the one network of this process

    def __init__(self, machine: Machine, step_ms: float) -> None:
        self.virtual = is_virtual(entries := configuration(machine))
        if Session._running is not None:
            Session._running.end()
        self._folder = tempfile.TemporaryDirectory(prefix="sayonce-spinnaker-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self._log = (self.folder / LOG).open("a", encoding="utf-8")
        self._handlers = list(logging.root.handlers)
        parser = ConfigParser()
        parser["Machine"], parser["Mode"] = machine.entries(), KEEP_REPORTS
        with (self.folder / FILE).open("w", encoding="utf-8") as file:
            parser.write(file)
        Session._running = self
        atexit.register(self.end)
        with self.talking():
            import pyNN.spiNNaker as simulator  # noqa: N813 (PyNN's own name)

            self.simulator: Any = simulator
            scale = None if "timescalefactor" in entries else max(1, round(step_ms))
            with contextlib.chdir(self.folder):
                simulator.setup(timestep=1.0, min_delay=1.0, time_scale_factor=scale)

    @contextlib.contextmanager
    def talking(self) -> Iterator[None]:
        """Run calls of sPyNNaker: what it prints goes to its log, what it raises becomes one sentence.

        Raises:
            BackendError: it failed.
        """
        try:
            with contextlib.redirect_stdout(self._log), contextlib.redirect_stderr(self._log):
                yield
        except Exception as error:  # of dozens of classes, down to those of the network
            if type(error).__name__ == "PacmanPlaceException" or "not support multiple boards" in str(error):
                raise BackendError(NO_ROOM) from error
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BackendError(f"sPyNNaker could not do it: {reason}") from error

    def end(self) -> None:
        """Give the board back; everything about the network is gone."""
        if Session._running is not self:
            return
        Session._running = None
        atexit.unregister(self.end)
        try:
            with self.talking():
                from spinn_utilities.data.utils_data_writer import UtilsDataWriter

                self.simulator.end()
                atexit.unregister(UtilsDataWriter.write_errored_file)  # it would mark the run in a folder that is gone by then
        finally:
            logging.root.handlers[:] = self._handlers
            self._log.close()
            self._folder.cleanup()
