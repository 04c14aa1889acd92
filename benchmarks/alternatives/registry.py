"""All methods of the comparison in the order of the table. A new one needs a line here and a file beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alternatives.broadcast import random_broadcast
from alternatives.efficientword import EfficientWordNet
from alternatives.errors import UnavailableError
from alternatives.network import Learner, Network, nothing, readout_alone
from alternatives.protocol import Alternative, Settings
from alternatives.prototype import AtSpeeds, Prototypes, mean_embedding, mean_spikes
from alternatives.rounding import rounded
from alternatives.warping import Warping, embedding_of_speech, mfcc
from priming.model import PrimedModel

REFERENCE = "eprop"  # the method that all others are compared with


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    title: str
    build: Callable[[Settings], Alternative]  # raises UnavailableError


def _broadcast(settings: Settings) -> Alternative:
    return Learner(Network(settings.model, settings.spikes, random_broadcast(settings.model.weights, settings.seed)))


def _primed_readout(settings: Settings) -> Alternative:
    if settings.readout_model is None:
        raise UnavailableError("it needs a model that was primed so: --readout-model FILE")
    return Learner(Network(settings.readout_model, settings.spikes_of(settings.readout_model)))


def _protonet(settings: Settings) -> Alternative:
    from alternatives.prototypical import PrimedPrototypes

    if settings.protonet is None:
        raise UnavailableError("it needs a primed network: --protonet FILE, from benchmarks/protonet.py")
    return PrimedPrototypes(settings.protonet)


METHODS: Mapping[str, Method] = {
    REFERENCE: Method("natural e-prop", lambda settings: Learner(settings.network)),
    "broadcast": Method("e-prop, random broadcast", _broadcast),
    "readout": Method("W_in and W_rec left as primed", lambda settings: Learner(settings.network, readout_alone)),
    "primed-readout": Method("primed to learn with the readout alone", _primed_readout),
    "none": Method("no update at all (chance)", lambda settings: Learner(settings.network, nothing)),
    "spikes": Method(
        "cosine of mean spikes, no network", lambda settings: Prototypes(mean_spikes(settings.spikes, settings.model.config.learner.step_ms))
    ),
    "cosine": Method("cosine of the mean whitened embedding", lambda settings: Prototypes(mean_embedding(settings.embedding))),
    "cosine-speeds": Method(
        "the same, at the model's speeds",
        lambda settings: AtSpeeds(Prototypes(mean_embedding(settings.embedding)), settings.model.config.speeds),
    ),
    "dtw-embedding": Method("speech embedding + DTW", lambda settings: Warping(embedding_of_speech(settings.embedding))),
    "dtw": Method("MFCC + DTW, nothing primed", lambda settings: Warping(mfcc())),
    "protonet": Method("prototypical network, not spiking", _protonet),
    "efficientword": Method("EfficientWord-Net 1.0.5", lambda settings: EfficientWordNet()),
}


def primed(name: str, model: PrimedModel) -> Method:
    """The row of another primed model, by the scheme that it was primed for."""
    learner = model.config.learner
    details = {
        "rates": (f"a rate for each {learner.rates}", f"{learner.broadcast} broadcast"),
        "weights": ("no plasticity",),
        "init": (f"{learner.broadcast} broadcast", f"inner {learner.inner}"),
        "init+lsg": (),
    }
    title = ", ".join((f"{name}: theta {learner.theta}", *details[learner.theta]))
    return Method(title, lambda settings: Learner(Network(model, settings.spikes_of(model))))


def rounding(bits: int) -> Method:
    """The row of natural e-prop from rounded weights."""

    def build(settings: Settings) -> Alternative:
        return Learner(Network(settings.model, settings.spikes, rounded(settings.model.weights, bits)))

    return Method(f"natural e-prop, weights in {bits} bits", build)
