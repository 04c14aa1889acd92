"""The objective against its formula, evaluated by hand, and its gradient against finite differences."""

import math

import pytest
import torch
from torch import Tensor

from priming.objective import accuracy, background_loss, decision_loss, initial_scalars

SCORES = [[0.9, 0.1, -0.2], [0.3, 0.2, 0.7], [0.4, 0.5, 0.1], [0.0, 0.6, 0.2]]
LABELS = [0, 2, -1, 0]


def scalars(dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.to(dtype) for name, value in initial_scalars().items()}


def by_hand(temperature: float, none: float, slope: float, threshold: float) -> float:
    which = pairs = 0.0
    for row, label in zip(SCORES, LABELS, strict=True):
        exponentials = [math.exp(temperature * score) for score in (*row, none)]
        which -= math.log(exponentials[label] / sum(exponentials))  # -1 is the last entry: none of them
        for word, score in enumerate(row):
            says = 1 / (1 + math.exp(-slope * (score - threshold)))
            pairs -= 1.5 * math.log(says) if word == label else 0.5 * math.log(1 - says)
    return which / 4 + 0.5 * pairs / 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_is_its_formula(dtype: torch.dtype) -> None:
    loss = decision_loss(torch.tensor(SCORES, dtype=dtype), torch.tensor(LABELS), scalars(dtype))
    assert loss.dtype == dtype
    assert float(loss) == pytest.approx(by_hand(12.0, 0.4, 10.0, 0.5), rel=1e-6)


def test_the_gradient_is_that_of_finite_differences() -> None:
    names = sorted(initial_scalars())
    inputs = [torch.tensor(SCORES, dtype=torch.float64), *(scalars(torch.float64)[name] for name in names)]

    def loss(scores: Tensor, *values: Tensor) -> Tensor:
        return decision_loss(scores, torch.tensor(LABELS), dict(zip(names, values, strict=True)))

    assert torch.autograd.gradcheck(loss, [value.requires_grad_() for value in inputs])


def test_confident_right_answers_cost_next_to_nothing_and_wrong_ones_much() -> None:
    labels = torch.tensor([0, 1, -1])
    right = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    good, bad = (float(decision_loss(scores, labels, scalars(torch.float32))) for scores in (right, -right))
    assert good < 0.01 < 5 < bad


def test_accuracy_counts_known_queries_only() -> None:
    assert accuracy(torch.tensor(SCORES), torch.tensor(LABELS)) == pytest.approx(2 / 3)


def test_every_utterance_is_set_against_all_background_of_its_own_word() -> None:
    background = [[0.2, 0.9, -0.1], [0.5, 0.8, 0.3]]
    expected = 0.0
    for query, word in ((0, 0), (1, 2), (3, 0)):  # the known ones
        own = math.exp(12.0 * SCORES[query][word])
        expected -= math.log(own / (own + sum(math.exp(12.0 * row[word]) for row in background))) / 3
    says = torch.zeros(2, 3, dtype=torch.bool)
    own = torch.tensor(SCORES).double(), torch.tensor(LABELS)
    heard, values = torch.tensor(background).double(), scalars(torch.float64)
    assert float(background_loss(*own, heard, says, values)) == pytest.approx(expected, rel=1e-6)
    higher = heard + torch.tensor([0.0, 5.0, 0.0])  # of a word that nobody says
    assert float(background_loss(*own, higher, says, values)) == pytest.approx(expected)
    says[1] = True  # all words are said in a third stretch, which then counts for none of them, and leaves a gradient
    more = torch.cat([heard[:1], torch.full((1, 3), 9.0).double(), heard[1:]])
    values["objective.log_temperature"].requires_grad_()
    loss = background_loss(*own, more, torch.cat([says, says[:1]]), values)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert bool(torch.isfinite(values["objective.log_temperature"].grad))
