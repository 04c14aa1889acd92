"""`app demo`: learn a word from one voice, find it said by others, and draw what the networks did."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.errors import AppError

if TYPE_CHECKING:
    from app.demo_material import Material, Said
    from app.detector import Detection

BLOCK = 6_400  # samples that the stream comes in


class _Recorder:
    """A backend that keeps what the network of its first word did while it listened."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.traces: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def process(self, spikes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Hear the next steps of a stream."""
        if not len(spikes):
            return np.zeros((0, 1), np.float32)
        self.traces.append(self._backend.process_traced(spikes))
        scores: NDArray[np.float32] = self.traces[-1].scores
        return scores[:, None]

    def whole(self) -> Any:
        """Return the trace of the whole stream."""
        return type(self.traces[0])(*(np.concatenate(parts) for parts in zip(*self.traces, strict=True)))


def run(out: str, data: str | None, model: str | None, backend: str) -> None:
    """Enroll from one utterance, listen to a stream, print and draw what happened."""
    from app import demo_figure, demo_material, terminal
    from app.engine import open_engine
    from app.enrolment import describe, judge
    from app.live import Listener
    from app.store import now
    from priming.episodes import hearing_support

    began = time.monotonic()
    material = demo_material.load(data)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    utterance = judge(material.enrolled, f"the utterance of '{material.word}'")
    engine = open_engine(model, backend)
    if not hasattr(engine.backend, "learn_traced"):
        raise AppError(f"the backend {backend} does not tell what its networks do; the demo needs one that does, such as torch")
    _, learning = engine.backend.learn_traced(engine.encoder.encode(hearing_support(utterance.speech)))
    word = describe(engine, material.word, [(engine.learn(utterance.speech), utterance.about)], created=now())
    info = word.info
    recorder = _Recorder(engine.backend)
    listener = Listener([word], engine=dataclasses.replace(engine, backend=recorder))
    terminal.out.print(f"learnt “{material.word}” from one utterance of {info.duration_s:.2f} s; listening to other voices\n")
    detections, heard = [], []
    for k in range(0, len(material.stream), BLOCK):
        detections += listener.push(material.stream[k : k + BLOCK])
        heard.append(listener.block_scores[:, 0])
    detections += listener.end()
    scores = np.concatenate([*heard, listener.block_scores[:, 0]])
    _report(material, detections)
    path = folder / "demo.png"
    listening = recorder.whole()
    record = demo_figure.Record(material.word, engine.step_s, learning, listening, scores, info.calibration.threshold, material.truth, detections)
    demo_figure.draw(record, path)
    terminal.out.print(f"figure: {path}   ({time.monotonic() - began:.1f} s)", style="bright_black", markup=False, soft_wrap=True)


def _report(material: "Material", detections: Sequence["Detection"]) -> None:
    """Print what was said and what was detected, side by side."""
    from rich.table import Table
    from rich.text import Text

    from app import terminal

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bright_black")
    for name in ("time", "said", "voice", "detected"):
        table.add_column(name, justify="right" if name == "time" else "left")
    found, wrong, errors = 0, 0, []
    left = list(detections)
    for said in material.truth:
        match = next((detection for detection in left if _meets(said, detection)), None)
        right = said.word == material.word
        verdict = Text("missed", "red") if right else Text("")
        if match is not None:
            left.remove(match)
            figures = f" {match.start_s:.2f}-{match.end_s:.2f} s, score {match.score:.1f}"
            verdict = Text("yes" + figures, "green") if right else Text("wrongly" + figures, "red")
            found, wrong = found + right, wrong + (not right)
            errors += [abs(match.start_s - said.start_s), abs(match.end_s - said.end_s)] if right else []
        table.add_row(terminal.clock(said.start_s), Text(said.word, "bold" if right else "bright_black"), Text(said.voice, "bright_black"), verdict)
    for detection in left:
        table.add_row(terminal.clock(detection.start_s), "", Text("nobody", "bright_black"), Text(f"wrongly, score {detection.score:.1f}", "red"))
    wrong += len(left)
    times = sum(said.word == material.word for said in material.truth)
    edges = f"; edges off by {np.median(errors):.2f} s (median)" if errors else ""
    summary = f"\n{found} of {times} found, {wrong} false accept{'' if wrong == 1 else 's'} among {len(material.truth) - times} other words{edges}"
    terminal.out.print(table)
    terminal.out.print(Text(summary, "green" if found == times and not wrong else "yellow"))


def _meets(said: "Said", detection: "Detection") -> bool:
    """Whether a detection lies on an utterance: half of the shorter of both is common to them."""
    common = min(said.end_s, detection.end_s) - max(said.start_s, detection.start_s)
    return common >= 0.5 * min(said.end_s - said.start_s, detection.end_s - detection.start_s)
