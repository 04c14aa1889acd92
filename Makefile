# Two commands for a fresh machine: `make demo` and `make test`. Both need Python 3.11 or newer with venv, and make.
# PIP_ARGS reaches pip, for instance to name an index of CPU-only builds of PyTorch; PYTHON names another interpreter.
# EXTRAS names optional parts that `make test` is to install as well, for instance EXTRAS=nest; without them their tests are skipped.
PYTHON ?= python3
PIP_ARGS ?=
EXTRAS ?=
comma := ,
VENV := .venv
BIN := $(VENV)/bin
INSTALLED_TEST := $(VENV)/.installed-test$(addprefix -,$(EXTRAS))

.PHONY: demo test lint
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/app demo

test: $(INSTALLED_TEST)
	$(BIN)/python -m pytest

lint: $(INSTALLED_TEST)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The stamps are written last: an interrupted step is done again.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.created
	$(BIN)/python -m pip install $(PIP_ARGS) -e .
	@touch $@

$(INSTALLED_TEST): pyproject.toml | $(VENV)/.created
	$(BIN)/python -m pip install $(PIP_ARGS) -e '.[test$(addprefix $(comma),$(EXTRAS))]'
	@touch $(VENV)/.installed $@
