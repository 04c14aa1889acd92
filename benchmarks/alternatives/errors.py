"""What a method of the comparison may answer instead of scores."""


class UnavailableError(ValueError):
    """The method cannot run here; the message says what it needs."""
