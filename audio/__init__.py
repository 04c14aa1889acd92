"""Sound in, spikes out: files, raw streams and the microphone, speech activity, recording quality, and the two spike encoders.

Nothing heavy is imported here: numpy alone, the rest inside the functions that need it.
"""

from audio.constants import SAMPLE_RATE
from audio.errors import AudioError

__all__ = ["SAMPLE_RATE", "AudioError"]
