"""What benchmarks/speed.py compares is the same computation, and what it measures is what it says."""

from pathlib import Path

import pytest
import torch

from snn import network
from snn.cells.alif import AlifParams
from snn.cells.board import BoardParams
from speed import gpu, loop, measure, recurrent, rule, stream


def test_both_forms_of_the_update_have_the_same_outer_gradient() -> None:
    forms = rule.contestants(neurons=5, inputs=7, steps=12, dtype=torch.float64)
    factorised, explicit = (form() for form in forms.values())
    for mine, theirs in zip(factorised, explicit, strict=True):  # type: ignore[call-overload]
        assert mine.abs().max() > 0.1
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_our_layer_and_the_plain_loop_have_the_same_gradients() -> None:
    gradients = []
    for run in (recurrent.ours, recurrent.plain):
        rng = torch.Generator().manual_seed(1)
        x = (torch.rand(9, 3, recurrent.INPUTS, generator=rng) < 0.15).float()
        w_in = (torch.randn(recurrent.NEURONS, recurrent.INPUTS, generator=rng) / 12).requires_grad_()
        w_rec = (torch.randn(recurrent.NEURONS, recurrent.NEURONS, generator=rng) / 16).requires_grad_()
        run(x, w_in, w_rec, recurrent.population())
        gradients.append((w_in.grad, w_rec.grad))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
    assert gradients[0][0] is not None
    assert gradients[0][0].abs().max() > 0.1


def test_every_layer_that_is_installed_can_be_differentiated() -> None:
    layers = recurrent.contestants(steps=4, batch=2)
    assert {"ours", "plain"} <= layers.keys()
    for layer in layers.values():
        layer()


def test_contestants_take_turns() -> None:
    order: list[str] = []
    times = measure.take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2, turn_s=0.0)
    assert order == ["a"] * 3 + ["b"] * 3 + ["a", "a", "b", "b"] * 2  # three calls find out how quick each is; each turn begins with one
    assert [len(seconds) for seconds in times.values()] == [2, 2]


def test_who_is_quick_is_called_often_in_a_turn() -> None:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    (times,) = measure.take_turns({"quick": count}, repeats=1, turn_s=1e-3).values()
    assert calls > 10
    assert times[0] < 1e-3


def test_ratios_are_taken_within_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"ours": [1.0, 10.0, 2.0], "theirs": [3.0, 20.0, 8.0]}  # the machine was slow in the second turn
    monkeypatch.setattr(measure, "take_turns", lambda contestants, repeats, clock: times)
    ours, theirs = measure.compare("group", "ours", dict.fromkeys(times, lambda: None), 3)
    assert (ours.seconds, ours.times_ours) == (2.0, 1.0)
    assert (theirs.seconds, theirs.times_ours) == (8.0, 3.0)


def test_the_peak_counts_what_is_held_at_once() -> None:
    def hold(how_many: int, at_once: bool) -> None:
        kept = []
        for _ in range(how_many):
            kept.append(torch.ones(250_000))  # a megabyte
            if not at_once:
                kept.clear()

    assert 3e6 <= measure.peak_bytes(lambda: hold(3, at_once=True)) < 3.2e6
    assert 1e6 <= measure.peak_bytes(lambda: hold(3, at_once=False)) < 2.2e6


@pytest.mark.parametrize("eprop_stage", [False, True])
def test_the_outer_loop_makes_the_same_step_by_plain_loops(tmp_path: Path, eprop_stage: bool) -> None:
    reports, weights = [], []
    run = network.run
    for name in ("ours", "plain"):
        (tmp_path / name).mkdir()
        opened = loop.open_loop(tmp_path / name, eprop_stage, steps=6)
        if name == "plain":
            with loop.plain_loops():
                assert network.run is not run
                reports.append(opened.advance())
        else:
            reports.append(opened.advance())
        weights.append(opened.weights)
    assert network.run is run
    assert reports[0].loss == reports[1].loss
    assert reports[0].figures["gradient norm"] == pytest.approx(reports[1].figures["gradient norm"], rel=1e-4)
    assert (reports[0].figures["stage"] == 1.0) == eprop_stage


@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 8)])
def test_all_forms_of_a_layer_have_the_same_gradients(shape: tuple[int, ...]) -> None:
    found = []
    for form in gpu.contestants(9, shape, "cpu").values():
        form()
        current, w_rec, params = form.args[:3]  # type: ignore[attr-defined]
        found.append([tensor.grad.clone() for tensor in (current, w_rec, *params[:3])])
        for tensor in (current, w_rec, *params[:3]):
            tensor.grad = None
    for gradients in found[1:]:
        torch.testing.assert_close(gradients, found[0], rtol=1e-4, atol=1e-5)
    assert all(gradient.abs().max() > 1e-3 for gradient in found[0])


def test_without_a_gpu_its_row_is_left_out_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.measure(4, [1], 1) == []
    assert capsys.readouterr().out.count("\n") == 1


def test_a_clock_of_choice_is_read() -> None:
    ticks = iter(range(1000))
    rows = measure.compare("group", "ours", {"ours": lambda: None}, 1, clock=lambda: 1000.0 * next(ticks))
    assert rows[0].seconds == 1000.0


@pytest.mark.parametrize("kind", [AlifParams, BoardParams])
def test_segments_take_less_memory_than_a_plain_run(kind: type[AlifParams] | type[BoardParams]) -> None:
    plain, *parts = (measure.peak_bytes(run) for run in stream.contestants(kind, steps=1000, sequences=4).values())
    assert all(part < 0.7 * plain for part in parts)
