"""What priming refuses, each with one line that says what is wrong and what to do."""


class DataError(ValueError):
    """Recordings, labels or scores that cannot be used as asked."""


class LeakError(DataError):
    """Something held back for validation or test was about to reach priming."""


class ModelError(ValueError):
    """A model file that is damaged, foreign or of another version."""


class CalibrationError(DataError):
    """A word that cannot be told from background as asked, or a threshold that means nothing."""
