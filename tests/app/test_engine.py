"""What an engine calls its model is what loads it again."""

import pytest

from app.engine import open_engine
from priming.model import ALIASES, built_in_models, load_model


@pytest.mark.parametrize("name", [*built_in_models(), *ALIASES])
def test_the_name_of_a_shipped_model_loads_it_again_anywhere(name: str) -> None:
    engine = open_engine(name, "torch")
    assert engine.reference == name
    assert load_model(engine.reference).sha256 == engine.model.sha256
