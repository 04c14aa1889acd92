"""Whitening evens variances out, those of noise less, and its rotation depends on the seed alone."""

import numpy as np
import pytest

from audio.whitening import soft_whitening

VARIANCES = np.array([4.0, 1.0, 0.25, 1e-6])


def test_variances_are_evened_out_softly() -> None:
    axes, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))
    covariance = axes @ np.diag(VARIANCES) @ axes.T
    transform = soft_whitening(covariance, 0.1)
    expected = VARIANCES / (VARIANCES + 0.1 * VARIANCES.mean())
    assert np.linalg.eigvalsh(transform.T @ covariance @ transform) == pytest.approx(np.sort(expected), abs=1e-9)


def test_the_seed_turns_it_and_changes_no_length() -> None:
    covariance, vector = np.diag(VARIANCES), np.arange(4.0)
    first, again, other = (soft_whitening(covariance, 0.1, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert np.linalg.norm(vector @ first) == pytest.approx(np.linalg.norm(vector @ other))
