"""Units that every file of this package shares."""

SAMPLE_RATE = 16_000  # Hz; audio is float32 in [-1, 1] at this rate everywhere behind the readers
