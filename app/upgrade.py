"""Learning words anew under another model, from the utterances that were kept with them.

What is kept of an utterance are the input spikes that the encoder made of it. They mean the same to another model if that has the same encoder,
constants included: then the new networks hear what they would have heard. If the encoder differs, nothing can be had from the spikes, since the sound
is not kept, and the word has to be said again. A word that was learnt anew is calibrated and checked like one that was just enrolled.
"""

from app.engine import Engine
from app.enrolment import KEPT, describe
from app.errors import StoreError
from app.safety import check
from app.store import WordStore
from app.word_file import StoredWord, encoder_sha256


def upgrade(engine: Engine, store: WordStore, name: str) -> bool:
    """Learn a word anew; its earlier form stays when that fails.

    Args:
        engine: the model that it is to be learnt under.
        store: of the word.
        name: of the word.

    Returns:
        Whether there was anything to do.

    Raises:
        StoreError: it is not enrolled, or its utterances are of no use to this model, with what to do.
        SafetyError: it would be unsafe to keep.
        CalibrationError: under this model it does not stand out from background.
        BackendError: the backend cannot learn it.
    """
    before = store.contents(name)
    word = store.require(name)
    if word.info.model_sha256 == engine.model.sha256:
        return False
    learnt = relearn(engine, word)
    with store.locked():
        if store.contents(name) != before:
            raise StoreError(f"'{name}' was changed by another program meanwhile; try again")
        check(engine, learnt, store.words())
        store.put(learnt)
    return True


def relearn(engine: Engine, word: StoredWord) -> StoredWord:
    """Learn a word from its own spikes.

    Raises:
        StoreError: the utterances were not kept, or another encoder heard them.
        BackendError: the backend cannot learn from them.
    """
    info, remedy = word.info, f'say it again with: app enroll "{word.info.word}" --replace --model {engine.reference}'
    if info.forgotten:
        raise StoreError(f"the utterances of '{info.word}' were not kept; {remedy}")
    if info.encoder_sha256 != encoder_sha256(engine.model):
        raise StoreError(
            f"'{info.word}' was heard by another encoder than that of the model {engine.model.name}, so its spikes are of no use here; {remedy}"
        )
    here = {"backend": engine.backend.name}
    learnt = [tuple(engine.backend.learn(shot.inputs) for shot in taught) for taught in word.utterances]
    shots = [(taught, about.model_copy(update=here)) for taught, about in zip(learnt, info.shots, strict=True)]
    return describe(engine, info.word, shots, info.created, earlier=info.calibration, acceptance=KEPT, speeds=info.speeds)
