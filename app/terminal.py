"""What people see: the live line, verdicts, tables. Words are always printed as plain text, never as markup.

Results go to stdout, everything else to stderr, so that a pipe gets results alone. Where the terminal cannot show block characters, ASCII stands in.
"""

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.near_misses import NEAR

if TYPE_CHECKING:
    from types import TracebackType

    from app.detector import Detection
    from app.events import Event
    from app.live import Listener
    from app.near_misses import NearMiss
    from app.safety import Neighbour
    from app.session import Session
    from app.store import StoredWord

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

BAR = 24  # characters
FLOOR_DBFS = -70.0  # left end of a level meter
SINK = 0.6  # shares of a bar that it falls in a second


def interactive() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def _characters() -> tuple[str, str, str]:
    """Return the characters of a bar: filled, empty, mark."""
    return ("█", "·", "┃") if (out.encoding or "").lower().startswith("utf") else ("#", ".", "|")


def bar(share: float, style: str, mark: float | None = None) -> Text:
    """Draw a bar.

    Args:
        share: how much is filled, 0 to 1; values beyond are cut.
        style: of the filled part.
        mark: where to put a mark, 0 to 1.

    Returns:
        24 characters.
    """
    full, empty, sign = _characters()
    filled = round(min(max(share, 0.0), 1.0) * BAR)
    text = Text(full * filled, style) + Text(empty * (BAR - filled), "bright_black")
    if mark is None:
        return text
    at = min(round(mark * BAR), BAR - 1)
    return text[:at] + Text(sign, "bold") + text[at + 1 :]


def level_bar(level_dbfs: float) -> Text:
    """Draw a level meter: green, yellow near full scale, red at it."""
    style = "red" if level_dbfs > -3 else "yellow" if level_dbfs > -10 else "green"
    return bar(1 - level_dbfs / FLOOR_DBFS, style) + Text(f" {max(level_dbfs, FLOOR_DBFS):4.0f} dB", "bright_black")


def clock(time_s: float) -> str:
    """Format a time in a stream."""
    minutes, seconds = divmod(round(time_s, 1), 60)
    return f"{int(minutes):d}:{seconds:04.1f}"


def detection_line(detection: "Detection") -> Text:
    """Describe a detection in one line."""
    figures = f"  {detection.end_s - detection.start_s:.2f} s  score {detection.score:.1f} (needs {detection.threshold:.1f})"
    return Text(f"{clock(detection.start_s):>7}  ", "bright_black") + Text(detection.word, "bold green") + Text(figures, "bright_black")


def near_miss_line(near: "NearMiss") -> Text:
    """Describe a near miss in one line."""
    figures = f"  almost: score {near.score:.1f} (needs {near.threshold:.1f})"
    return Text(f"{clock(near.time_s):>7}  ", "bright_black") + Text(near.word, "yellow") + Text(figures, "bright_black")


STATES = {  # styles and what to do
    "listening": ("green", ""),
    "hearing speech": ("bold cyan", ""),
    "muted": ("bold yellow", "space goes on"),
    "device lost": ("bold red", "waiting for it to come back"),
    "falling behind": ("bold red", "this machine is too slow or too busy"),
}


class LiveView:
    """The live display of a listening session; detections scroll above it.

    Args:
        listener: whose level and scores are shown.
        session: whose state is shown, if there is one.
    """

    def __init__(self, listener: "Listener", session: "Session | None" = None) -> None:
        self._listener, self._session = listener, session
        self._bars: dict[str, tuple[float, float]] = {}  # of each word: where its bar stands, and since when
        self._live = Live(console=out, get_renderable=self._render, refresh_per_second=12, transient=True)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None") -> None:
        self._live.stop()

    def show(self, detection: "Detection") -> None:
        """Add a detection."""
        out.print(detection_line(detection))

    def tell(self, event: "Event", near_misses: bool) -> None:
        """Add what is worth a line of its own; the rest is in the display."""
        from app.detector import Detection
        from app.near_misses import NearMiss

        if isinstance(event, Detection):
            self.show(event)
        elif near_misses and isinstance(event, NearMiss):
            out.print(near_miss_line(event))

    def _state_line(self, session: "Session") -> Text:
        """Say what the session is doing."""
        style, advice = STATES[session.state]
        sign = "●" if _characters()[0] == "█" else "*"
        line = Text(f"{sign} {session.state}", style)
        if advice:
            line += Text(f"  {advice}", "bright_black")
        if session.state == "falling behind":
            line += Text(f", {session.behind_s:.1f} s behind", "bright_black")
        return line

    def _standing(self, name: str, share: float, now: float) -> float:
        """Let a bar rise at once and sink slowly, for a spoken word is over before the eye is there."""
        if math.isnan(share) or share == -math.inf:
            share = 0.0
        was, since = self._bars.get(name, (share, now))
        standing = max(share, was - SINK * max(0.0, now - since))
        self._bars[name] = standing, now
        return standing

    def _render(self) -> RenderableType:
        listener, session = self._listener, self._session
        now = session.time_s if session else listener.time_s
        head = Text(clock(now), "bright_black"), level_bar(listener.level_dbfs)
        if session is not None:
            head = Text(clock(now), "bright_black"), head[1] + Text(f"   {session.real_time_factor:.2f} of real time", "bright_black")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(max_width=28, no_wrap=True, overflow="ellipsis")
        grid.add_row(*head)
        rows = [
            (word.info.word, float(score), word.info.calibration.threshold) for word, score in zip(listener.words, listener.scores, strict=False)
        ]  # words may be replaced right now
        fits = max(1, out.height - 5)
        hidden = max(0, len(rows) - fits)
        if hidden:
            rows = sorted(rows, key=lambda row: row[2] - row[1])[:fits]
        for name, score, threshold in rows:
            span = max(abs(threshold), 1.0)  # the bar begins one span below the threshold and ends half a span above it
            share = self._standing(name, (score - threshold + span) / (1.5 * span), now)
            style = "green" if share >= 1 / 1.5 else "yellow" if share >= (1 - NEAR) / 1.5 else "cyan"
            shown = f" {score:5.1f}" if score > -100 else "     -"
            grid.add_row(Text(name), bar(share, style, mark=1 / 1.5) + Text(f"{shown} of {threshold:.1f}", "bright_black"))
        lines: list[RenderableType] = [Text(), grid]
        if hidden:
            lines.append(Text(f"and {hidden} more words, further from their thresholds", "bright_black"))
        if session is not None:
            lines.insert(1, self._state_line(session))
        return Group(*lines)


def show_enrolled(word: "StoredWord", new: int, neighbour: "Neighbour | None") -> None:
    """Tell what was heard, how good it was, and which word is nearest.

    Args:
        word: as stored.
        new: how many of its shots are new.
        neighbour: the nearest word that was enrolled before.
    """
    table = Table.grid(padding=(0, 2))
    for shot in word.info.shots[-new:]:
        verdict = Text("; ".join(shot.remarks), "yellow") if shot.remarks else Text("good", "green")
        table.add_row(
            Text(shot.source, "bright_black", overflow="ellipsis"),
            f"speech {shot.duration_s:.2f} s",
            f"level {shot.level_dbfs:.0f} dB",
            f"{shot.snr_db:.0f} dB over noise",
            verdict,
        )
    out.print(table)
    if neighbour is not None:
        out.print(Text("nearest word: ") + Text(neighbour.word, "bold") + Text(f", score {neighbour.score:.1f} (needs {neighbour.threshold:.1f})"))
    count = len(word.info.shots)
    out.print(Text("enrolled ", "green") + Text(word.info.word, "bold green") + Text(f" from {count} utterance{'s' if count > 1 else ''}", "green"))


def words_table(words: Sequence["StoredWord"]) -> Table:
    """Lay out the enrolled words."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bright_black")
    for name in ("word", "shots", "length", "threshold", "model", "enrolled"):
        table.add_column(name, justify="right" if name in ("shots", "length", "threshold") else "left")
    for word in words:
        info = word.info
        when = info.created[:16].replace("T", " ")
        length, threshold = f"{info.duration_s:.2f} s", f"{info.calibration.threshold:.1f}"
        table.add_row(Text(info.word, "bold"), str(len(info.shots)), length, threshold, Text(info.model), when)
    return table


def ask(question: str, choices: dict[str, str]) -> str:
    """Ask for one of several answers, by first letter or whole; the first is taken on return or at the end of the input.

    Args:
        question: what is asked; may be empty.
        choices: answers by letter.

    Returns:
        The letter.
    """
    first = next(iter(choices))
    offer = Text(f"{question} " if question else "")
    offer += Text("  ").join(Text(letter, "bold") + Text(f" {name}", "bright_black") for letter, name in choices.items())
    while True:
        out.print(offer, end=" ")
        try:
            answer = input().strip().lower()
        except EOFError:
            return first
        for letter, name in choices.items():
            if answer in (letter, name) or (not answer and letter == first):
                return letter
