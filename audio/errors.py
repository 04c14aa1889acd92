"""The one exception of this package: something about the sound that the user can put right.

Its message is one line that says what is wrong and what to do about it; the command line prints it and exits with status 2.
"""


class AudioError(ValueError):
    """Audio that cannot be used: a bad file, a bad stream, a missing device or a missing model."""
