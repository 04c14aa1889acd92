"""`app devices`: the microphones that `--device` can name."""

import dataclasses
import json

from app.errors import AppError


def run(as_json: bool) -> None:
    """List the microphones."""
    from audio.microphone import list_devices

    found = list_devices()
    if as_json:
        print(json.dumps([dataclasses.asdict(device) for device in found], ensure_ascii=False))
        return
    if not found:
        raise AppError("no microphone found: plug one in, or use --from FILE")
    from rich.table import Table
    from rich.text import Text

    from app.terminal import out

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bright_black")
    for name in ("id", "name", "rate", "channels", ""):
        table.add_column(name, justify="right" if name in ("id", "rate", "channels") else "left")
    for device in found:
        default = Text("default", "green") if device.default else ""
        table.add_row(str(device.index), Text(device.name), f"{device.rate} Hz", str(device.channels), default)
    out.print(table)
