# Two commands for a fresh machine: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

# TORCH is what pip installs first; the choice is kept in the stamp, so later calls need not repeat it.
# TORCH_INDEX is one more package index for it: https://download.pytorch.org/whl/cpu holds Linux builds without CUDA.
ifdef TORCH
ifneq ($(TORCH),$(shell cat $(STAMP) 2>/dev/null))
.PHONY: $(STAMP)
endif
endif
TORCH ?= $(or $(shell cat $(STAMP) 2>/dev/null),$(shell nvidia-smi >/dev/null 2>&1 && echo 'torch>=2.8' || echo 'torch==2.13.0'))
TORCH_INDEX ?=

# Two processes, each with whole files, in their order: the long ones come in the middle. Empty means one process.
TEST_WORKERS ?= -n 2 --dist loadfile --no-loadscope-reorder

PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install demo test lint bench

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "  Variables: PYTHON, VENV, TORCH, TORCH_INDEX, DEMO_ARGS, PYTEST_ARGS, TEST_WORKERS; see the top of the Makefile."

install: $(STAMP)  ## set up .venv and the system packages that Qt and OpenGL need

$(STAMP): pyproject.toml hatch_build.py
	@PYTHON='$(PYTHON)' sh scripts/system_packages.sh
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo "Python was not found: install Python 3.11 or newer, or name one with 'make PYTHON=...'." >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, found $$('$(PYTHON)' --version 2>&1): name another with 'make PYTHON=...'." >&2; \
	  exit 1; }
	'$(PYTHON)' -m venv $(VENV)
	@echo "Installing into $(VENV); a first time takes a few minutes."
	$(PIP) install --quiet '$(TORCH)' $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(PIP) install --quiet --editable '.[dev]'
	@echo '$(TORCH)' > $@

demo: install  ## run the main job on generated sample data and show the result
	$(BIN)/unimiss demo $(DEMO_ARGS)

test: install  ## run the tests; those on real images need UNIMISS_DATA
	NAPARI_CONFIG= $(BIN)/python -m pytest $(TEST_WORKERS) $(PYTEST_ARGS)

lint: install  ## check style, types and the plugin manifest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	NAPARI_CONFIG= $(BIN)/npe2 validate --imports napari-unimiss

bench: install  ## run every benchmark in benchmarks/
	@set -e; for script in benchmarks/*.py; do \
	  [ -e "$$script" ] || { echo "There is no benchmark in benchmarks/." >&2; exit 1; }; \
	  echo "$$script"; $(BIN)/python "$$script"; done
