"""What counts as audio behind the readers: one-dimensional float32 in [-1, 1], every value finite.

Every way in checks this in one place. A single NaN would otherwise pass through the spike encoders unseen, because every comparison with it is
false, and 16-bit numbers that were stored as floats would be heard 90 dB too loud.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio.errors import AudioError

MAX_PEAK = 8.0  # decoders and resamplers overshoot full scale a little; numbers beyond this are not in [-1, 1] at all


def as_samples(values: ArrayLike, source: str = "audio") -> NDArray[np.float32]:
    """Check samples and return them as float32.

    Args:
        values: [n] numbers in [-1, 1].
        source: what to call the audio in an error message.

    Returns:
        float32 [n], not copied when it already has this form.

    Raises:
        AudioError: more than one dimension, NaN or infinite values, or a scale other than [-1, 1].
    """
    samples = np.asarray(values, dtype=np.float32)
    if samples.ndim != 1:
        raise AudioError(f"{source}: expected one channel, an array [n], but got the shape {list(samples.shape)}; mix it to mono first")
    if samples.size:
        peak = float(np.max(np.abs(samples)))  # NaN propagates through max
        if not np.isfinite(peak):
            raise AudioError(f"{source}: holds NaN or infinite samples; export it again, for example as 16-bit WAV")
        if peak > MAX_PEAK:
            raise AudioError(f"{source}: samples reach {peak:.0f}, but audio must lie in [-1, 1]; divide 16-bit numbers by 32768")
    return samples
