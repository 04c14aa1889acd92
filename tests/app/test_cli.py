"""The command line itself: help without heavy imports, errors in one line, exit statuses."""

import builtins
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from app import parser, verbs
from app.cli import main
from app.errors import AppError

HEAVY = {"torch", "librosa", "numba", "onnxruntime", "matplotlib", "pyNN", "numpy", "scipy", "sounddevice", "torchaudio"}
VERBS = ["", "prime", "enroll", "listen", "serve", "evaluate", "words", "words list", "words show", "words rename", "words remove", "devices", "demo"]

Cli = Callable[..., tuple[int, str, str]]

PROBE = """
import json, sys
from app.cli import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


@pytest.mark.parametrize("verb", VERBS)
def test_help_imports_nothing_heavy(verb: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, *verb.split(), "--help"], capture_output=True, text=True, timeout=60)
    status, modules = json.loads(done.stderr)
    assert status == 0
    assert done.stdout.startswith(f"Usage: app {verb}".rstrip())
    assert not HEAVY & set(modules)


def test_help_is_shown_when_nothing_is_asked_for(cli: Cli) -> None:
    status, out, err = cli()
    assert (status, err) == (0, "")
    assert all(verb in out for verb in ("prime", "enroll", "listen", "serve", "evaluate", "words", "devices", "demo"))


def test_options_of_the_contract_are_there(cli: Cli) -> None:
    expected = {
        "prime": "--data --out --encoder --minutes --steps --resume --device --seed",
        "enroll": "--from --model --words --backend --device --json --replace WORD",
        "listen": "--from --words --model --json --backend --device --rate --channels --format --near-misses --events --exec --record-detections",
        "serve": "--uri --words --model --backend",
        "devices": "--levels --json",
        "evaluate": "--data --role --ways --shots --episodes --seed --snr --model --backend --json",
        "demo": "--out --data",
    }
    for verb, options in expected.items():
        text = cli(verb, "--help")[1]
        assert all(option in text for option in options.split()), verb


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["listen", "--frobnicate"], ["enroll"], ["prime", "--data", "x"], ["evaluate"], ["words", "frobnicate"], ["words", "show"]],
)
def test_a_usage_error_is_one_line_and_status_2(cli: Cli, arguments: list[str]) -> None:
    status, out, err = cli(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("app: ")
    assert err.count("\n") == 1


def test_a_number_that_is_none_is_a_usage_error(cli: Cli) -> None:
    status, _, err = cli("listen", "--from", "-", "--rate", "fast")
    assert status == 2
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "raised", "status", "message"),
    [
        ("listen", KeyboardInterrupt(), 0, ""),
        ("serve", KeyboardInterrupt(), 0, ""),
        ("enroll", KeyboardInterrupt(), 130, ""),
        ("prime", KeyboardInterrupt(), 130, ""),
        ("enroll", AppError("no  such\nthing \x1b[2J"), 2, "app: no such thing \\x1b[2J\n"),
        ("enroll", OSError(errno.ENOSPC, "No space left on device"), 2, "app: No space left on device\n"),
        ("enroll", PermissionError(errno.EACCES, "Permission denied", "/words"), 2, "app: Permission denied: /words\n"),
    ],
)
def test_what_goes_wrong_becomes_a_status_and_a_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, verb: str, raised: BaseException, status: int, message: str
) -> None:
    def fail() -> None:
        raise raised

    monkeypatch.setattr(verbs, "deferred", lambda *_, **__: fail)
    arguments = {"listen": ["listen"], "serve": ["serve"], "enroll": ["enroll", "lamp"], "prime": ["prime", "--data", ".", "--out", "m"]}[verb]
    assert cli(*arguments) == (status, "", message)


def test_errors_of_every_package_are_told_as_the_users(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from audio.errors import AudioError
    from hardware import BackendError
    from priming.errors import DataError, LeakError, ModelError

    for kind in (AudioError, BackendError, DataError, LeakError, ModelError):

        def fail(kind: type[Exception] = kind) -> None:
            raise kind("broken; mend it")

        monkeypatch.setattr(verbs, "deferred", lambda *_, **__: fail)
        assert cli("devices") == (2, "", "app: broken; mend it\n")


def test_a_defect_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("defect")

    monkeypatch.setattr(verbs, "deferred", lambda *_, **__: fail)
    with pytest.raises(ValueError, match="defect"):
        main(["devices"])


def test_an_interrupt_while_importing_is_quiet(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def interrupted(name: str, *rest: object, **options: object) -> object:
        if name == "app.parser":
            raise KeyboardInterrupt
        return real(name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", interrupted)
    assert main(["enroll", "lamp"]) == 130
    assert main(["listen"]) == 0


FLOOD = """
import sys
from app import verbs
from app.cli import main
verbs.deferred = lambda *_, **__: lambda: print("x" * 200_000, flush=True)
sys.exit(main(["devices"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_an_interrupt_that_an_extension_turned_into_an_import_error_is_quiet(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: list[str]) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError("initialization failed") from interrupt

    monkeypatch.setattr(parser, "run", run)
    assert cli("listen") == (0, "", "")
    assert cli("enroll", "lamp") == (130, "", "")


def test_a_reader_that_leaves_ends_the_program_quietly() -> None:
    with subprocess.Popen([sys.executable, "-c", FLOOD], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.read(1)
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait(60) == 141


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "app", "words", "list"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout == ""
    assert "enroll one with: app enroll WORD" in done.stderr
