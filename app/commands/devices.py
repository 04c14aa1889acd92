"""`app devices`: the microphones that `--device` can name, and what they hear."""

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from app.errors import AppError

if TYPE_CHECKING:
    from audio.microphone import InputDevice, Level

SECONDS = 1.0  # that a level is measured


def run(levels: bool, as_json: bool) -> None:
    """List the microphones, with their levels if asked for."""
    from audio.microphone import list_devices

    found = list_devices()
    heard = [_level(device) for device in found] if levels else []
    if as_json:
        entries: list[dict[str, Any]] = [dataclasses.asdict(device) for device in found]
        for entry, level in zip(entries, heard, strict=False):
            known = {"level_dbfs": None, "peak_dbfs": None, "problem": level} if isinstance(level, str) else _rounded(level)
            entry.update(known)
        print(json.dumps(entries, ensure_ascii=False))
        return
    if not found:
        raise AppError("no microphone found: plug one in, or use --from FILE")
    _show(found, heard)


def _rounded(level: "Level") -> dict[str, Any]:
    """Describe a level for JSON."""
    return {"level_dbfs": round(level.mean_dbfs, 1), "peak_dbfs": round(level.peak_dbfs, 1), "problem": None}


def _level(device: "InputDevice") -> "Level | str":
    """Measure a device, or say why not: one that is busy is no reason not to measure the others."""
    from app.commands.listen import quiet_libraries
    from audio.errors import AudioError
    from audio.microphone import measure_level

    print(f"measuring {device.name} for {SECONDS:.0f} s: say something", file=sys.stderr, flush=True)
    try:
        with quiet_libraries():
            return measure_level(device, SECONDS)
    except AudioError as error:
        return str(error)


def _show(found: "list[InputDevice]", heard: "list[Level | str]") -> None:
    """Print a table."""
    from rich.table import Table
    from rich.text import Text

    from app.terminal import level_bar, out

    names = ["id", "name", "rate", "channels", "", *(["level"] if heard else [])]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bright_black")
    for name in names:
        table.add_column(name, justify="right" if name in ("id", "rate", "channels") else "left", overflow="fold")
    for k, device in enumerate(found):
        default = Text("default", "green") if device.default else Text()
        row = [Text(str(device.index)), Text(device.name), Text(f"{device.rate} Hz"), Text(str(device.channels)), default]
        if heard:
            level = heard[k]
            if isinstance(level, str):
                row.append(Text(level, "yellow"))
            else:
                row.append(level_bar(level.mean_dbfs) + Text(f", peak {level.peak_dbfs:.0f}", "bright_black"))
        table.add_row(*row)
    out.print(table)
