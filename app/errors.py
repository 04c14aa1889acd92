"""Errors of this package that a user can mend: one clear line each."""


class AppError(ValueError):
    """A request that cannot be served, with the reason and the remedy."""


class StoreError(AppError):
    """A word or a word store that cannot be used."""
