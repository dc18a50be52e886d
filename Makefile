# Set-up happens by itself: every target first makes .venv, with uv where it is installed, else with venv and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow style clean

demo: $(STAMP)  ## data, tiny SAM, teacher, stage 1, stage 2, GRPO, evaluation: the whole paper in minutes
	$(BIN)/python recipes/demo.py

test: $(STAMP)  ## the default suite: CPU, offline
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest

test-slow: $(STAMP)  ## what takes minutes
	$(BIN)/python -m pytest -m slow

style: $(STAMP)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

$(STAMP): setup.cfg pyproject.toml
	if command -v uv >/dev/null; then \
		uv venv --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --python $(BIN)/python -e '.[dev,deepspeed]'; \
	else \
		$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -e '.[dev,deepspeed]'; \
	fi
	touch $@

clean:
	rm -rf $(VENV) outputs
