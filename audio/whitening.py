"""Soft whitening: directions of like variance, those of least variance, mostly noise, not blown up to the size of the others."""

import numpy as np
from numpy.typing import NDArray


def soft_whitening(covariance: NDArray[np.float64], softness: float, seed: int = 0) -> NDArray[np.float64]:
    """Find a whitening whose directions are rotated at random, which spreads the information evenly over them.

    Args:
        covariance: [D, D] of the vectors.
        softness: share of the mean eigenvalue that is added to every eigenvalue.
        seed: of the rotation.

    Returns:
        [D, D], to be applied to centred vectors in rows from the right.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    softened = np.maximum(eigenvalues, 0.0) + softness * eigenvalues.mean()
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal(covariance.shape))[0]
    transform: NDArray[np.float64] = (eigenvectors / np.sqrt(softened)) @ rotation
    return transform
