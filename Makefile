# make demo: the main job on the embedded model and suite.   make test: the whole test suite.
# Both create the virtual environment first; nothing but Python 3.10+ and make is needed before.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_LIMIT ?= 80
JOBS ?= 2

.PHONY: demo test test-vllm test-lmms lint docs install
demo: $(STAMP)
	$(BIN)/python -m vtprune_eval --model nano --method full,pixelprune,random,resize,conncomp,stride,pool --budget auto --limit $(DEMO_LIMIT) --out runs/demo

test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# The engine's tests, in an environment of their own that is kept while scripts/engine/constraints.txt stays as it is.
VLLM_VENV ?= .venv-vllm
test-vllm:
	$(PYTHON) scripts/engine/environment.py $(VLLM_VENV)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest -p no:cacheprovider tests/engine_vllm

# lmms-eval's pins and those of the other hosts exclude each other.
LMMS_VENV ?= .venv-lmms
test-lmms:
	test -x $(LMMS_VENV)/bin/python || $(PYTHON) -m venv $(LMMS_VENV)
	$(LMMS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[lmms-eval]" pytest
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(LMMS_VENV)/bin/python -m pytest -p no:cacheprovider tests/integrations/test_lmms_eval.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(BIN)/mypy; \
	else echo "types are checked from Python 3.11 on: the last numpy for 3.10 declares its types otherwise"; fi

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

install: $(STAMP)

$(STAMP): setup.cfg constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed; this is " + sys.version.split()[0] + ": set PYTHON=...") if sys.version_info < (3, 10) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
