"""Time every `--help` of the command line: each must answer in under 0.3 s.

    python benchmarks/help_time.py [--runs N]

Every command of the tree is started N times in a fresh interpreter. The table gives the median and the fastest wall time, and the median's ratio to
the median of an interpreter that does nothing, which tells a slow machine from a slow import. Exits with 1 when a median is 0.3 s or more.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIMIT_S = 0.3
ROOT = Path(__file__).resolve().parent.parent


def command_paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """List a command and all commands below it.

    Args:
        command: a parsed command; one that has others below it has `commands`.
        path: the words that lead to it.

    Yields:
        The words after `app` of each command, the empty tuple for `app` itself.
    """
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from command_paths(below, (*path, name))


def wall_times(arguments: list[str], runs: int) -> list[float]:
    """Run an interpreter several times.

    Args:
        arguments: of the interpreter.
        runs: how often to start it.

    Returns:
        The wall time of each run in seconds; one run more, which fills the caches, is not among them.

    Raises:
        subprocess.CalledProcessError: it did not exit with 0.
    """
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT)
        times.append(time.perf_counter() - start)
    return times[1:]


def main() -> int:
    """Print the table.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Time every --help of the command line.")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="runs of each command (default: 10)")
    runs: int = parser.parse_args().runs

    sys.path.insert(0, str(ROOT))
    import typer

    from app.verbs import cli

    bare = statistics.median(wall_times(["-c", "pass"], runs))
    print(f"{'command':<28}{'median s':>10}{'fastest s':>11}{'ratio':>8}")
    print(f"{'python -c pass':<28}{bare:>10.3f}{'':>11}{1:>8.1f}")
    slow = 0
    for path in command_paths(typer.main.get_command(cli)):
        times = wall_times(["-m", "app", *path, "--help"], runs)
        median = statistics.median(times)
        slow += median >= LIMIT_S
        print(f"{' '.join(('app', *path, '--help')):<28}{median:>10.3f}{min(times):>11.3f}{median / bare:>8.1f}{'  too slow' * (median >= LIMIT_S)}")
    return int(slow > 0)


if __name__ == "__main__":
    sys.exit(main())
