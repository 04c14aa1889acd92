"""The enrolled words as a server offers them: read again when the store changes, one network for all streams."""

import dataclasses
import logging

from app.engine import listening_backend
from app.errors import StoreError
from app.live import Listener
from app.store import WordStore
from app.watch import StoreWatch

log = logging.getLogger("sayonce")


class Words:
    """The enrolled words and the model they share.

    Args:
        folder: of the word store; the default one when None.
        model: primed model; that of most of the words when None.
        backend: name of the backend.

    Attributes:
        listener: with all words deployed, to be forked for each stream; None where there is no word.
    """

    def __init__(self, folder: str | None, model: str | None, backend: str) -> None:
        self._store, self._model, self._backend = WordStore(folder), model, backend
        self._watch = StoreWatch(self._store.directory)
        self.listener: Listener | None = None
        self.load()

    @property
    def names(self) -> list[str]:
        """Names of the words."""
        return [word.info.word for word in self.listener.words] if self.listener else []

    def load(self) -> None:
        """Read the store; the model is loaded once there is something to listen for.

        Raises:
            ModelError: the model cannot be loaded.
            BackendError: the backend cannot run it.
        """
        found = self._store.words()
        engine = self.listener.engine if self.listener else None
        try:
            # A new backend: streams that are being heard go on with the old one until their next block.
            if engine is not None:
                backend = listening_backend(self._backend)
                backend.load(engine.model.config.learner, engine.model.weights)
                engine = dataclasses.replace(engine, backend=backend)
            self.listener = Listener(found, self._model, self._backend, engine=engine) if found else None
        except StoreError as error:
            log.warning("%s", error)
            self.listener = None
        log.info("wake words: %s", ", ".join(map(repr, self.names)) or f"none yet in {self._store.directory}; enroll one with: app enroll WORD")

    def changed(self) -> bool:
        """Say whether the store was changed since the last look."""
        return self._watch.changed()
