"""What differs between systems: without a signal nothing breaks, outside the main thread too, and a lock is waited for and let go."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app import portable
from app.errors import StoreError


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals of POSIX")
def test_the_pause_signal_calls_and_is_given_back() -> None:
    calls: list[int] = []
    before = signal.getsignal(signal.SIGUSR1)
    with portable.on_pause_signal(lambda: calls.append(1)):
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
    assert calls == [1, 1]
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_system_without_the_signal_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "PAUSE_SIGNAL", "SIGNOSUCH")
    with portable.on_pause_signal(lambda: pytest.fail("called")):
        pass


@pytest.mark.parametrize(
    "call",
    [lambda: portable.on_terminate(lambda *_: None), portable.ignore_interrupts, lambda: portable.on_pause_signal(lambda: None).__enter__()],
    ids=["terminate", "interrupts", "pause"],
)
def test_a_thread_that_may_set_no_handler_goes_on(call: Callable[[], object]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed


def test_no_loop_is_no_error() -> None:
    portable.on_terminate_in_loop(lambda: None)


HOLD = """
import sys
from pathlib import Path
from app.portable import lock
with lock(Path(sys.argv[1]), 5.0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_ends_with_the_program_that_held_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=r"another program has held .* for 0 s; end it and try again"), portable.lock(path, 0.05):
            pytest.fail("two hold it")
        other.kill()
    with portable.lock(path, 5.0):
        pass
