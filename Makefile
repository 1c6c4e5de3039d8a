# `make` sets up .venv and builds the extensions; `make help` lists the rest. Everything is quick the second time.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := setup
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: setup demo test cuda-check bench tables fuzz lint docs doctor clean help FORCE

VENV := .venv
PY := $(VENV)/bin/python
RECORD := $(VENV)/tomolearn
# Choices made once (`make TORCH=... FORCE_CUDA=1`) hold until they are made anew or `make clean` forgets them.
-include $(RECORD)/choices.mk

PIN := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' constraints.txt)
PYTHON ?= python3
TORCH ?= $(PIN)
FORCE_CUDA ?=
CUDA_HOME ?=
TORCH_CUDA_ARCH_LIST ?=
BUILD_CHOICE := FORCE_CUDA=$(FORCE_CUDA) CUDA_HOME=$(CUDA_HOME) TORCH_CUDA_ARCH_LIST=$(TORCH_CUDA_ARCH_LIST)
export TORCH FORCE_CUDA TORCH_CUDA_ARCH_LIST
ifneq ($(CUDA_HOME),)
export CUDA_HOME
endif

# constraints.txt with torch pinned to what stage 2 installed: no later call can replace it.
CONSTRAINTS := $(RECORD)/constraints.txt
# pip would compile all files of all packages to bytecode, for more than a minute; what is used is compiled at first use,
# and kept.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --no-compile -c $(CONSTRAINTS)
# Prints one list of requirements of pyproject.toml.
REQUIREMENTS := $(PY) -c 'import functools, sys, tomllib; \
	print(*functools.reduce(dict.get, sys.argv[1:], tomllib.load(open("pyproject.toml", "rb"))), sep="\n")'

setup: $(RECORD)/built  ## make .venv, install, build the extensions (plain `make` does this)
	@echo "tomolearn is ready in $(VENV); make help lists what else there is."

demo: $(RECORD)/built  ## raw scan to volumes, trained models, a table and a slide; writes demo/
	$(PY) examples/demo.py --out demo

test: lint $(RECORD)/built $(RECORD)/nvcc  ## lint, then the whole suite: unit tests, doctests, sanitizers, CUDA build, coverage
	@# One thread for each process, those that tests start too: as many processes as processors run side by side.
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses auto --dist loadfile --cov --cov-report=term

cuda-check: $(RECORD)/built $(RECORD)/extra-test $(RECORD)/nvcc  ## of the suite: the CUDA build, the kernels emulated
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses auto --dist loadfile tests/test_cuda_*.py tests/test_emulator.py

bench: $(RECORD)/built $(RECORD)/extra-test $(RECORD)/extra-bench  ## time the operators beside their peers
	$(PY) benchmarks/operators.py
	$(PY) benchmarks/fourier.py speed
	$(PY) benchmarks/pipeline.py
	$(PY) benchmarks/readers.py
	$(PY) benchmarks/training.py

tables: $(RECORD)/built $(RECORD)/extra-test $(RECORD)/extra-bench  ## print the tables of README.md anew
	$(PY) benchmarks/tables.py

fuzz: $(RECORD)/built $(RECORD)/extra-test  ## fuzz the operators, the readers, the model files and the CUDA kernels for long
	$(PY) tests/fuzz.py
	$(PY) tests/fuzz_files.py --cases 500
	$(PY) tests/fuzz_models.py --cases 1000
	$(PY) tests/fuzz_cuda.py --cases 2000

lint: $(RECORD)/extra-test  ## ruff check, ruff format --check
	$(PY) -m ruff check --quiet
	$(PY) -m ruff format --check --quiet

docs: $(RECORD)/built $(RECORD)/extra-docs  ## build docs/_build/html; a warning is an error
	$(PY) -m sphinx -W --keep-going --quiet -b html docs docs/_build/html
	@echo "The pages start at docs/_build/html/index.html"

doctor: $(RECORD)/built  ## say what is installed, how it was built, whether it loads
	$(PY) -m tomolearn doctor

clean:  ## remove .venv and everything that was built
	rm -rf $(VENV) build dist demo docs/_build docs/generated tomolearn/*.so *.egg-info

help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
	@echo
	@echo 'Variables: PYTHON=$(PYTHON) TORCH="$(TORCH)" $(BUILD_CHOICE)'
	@echo 'TORCH may hold options of pip: make TORCH="torch --index-url ADDRESS"; without a version it is $(PIN).'

# Stage 1: the virtual environment, once the machine has what compiling needs.
$(RECORD)/venv:
	@command -v $${CXX:-c++} >/dev/null \
	    || { echo "make: no C++ compiler; on Debian: apt-get install g++ make python3-venv python3-dev" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "make: tomolearn needs Python 3.11 or newer; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	    || { echo "make: $(PYTHON) makes no virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
	    || { echo "make: $(PYTHON) has no Python.h; on Debian: apt-get install python3-dev" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(RECORD) && touch $@

# Stage 2: torch, by a call of its own since TORCH may name an index that holds nothing else. The pin binds TORCH unless
# TORCH states a version.
ifneq ($(TORCH),$(shell cat $(RECORD)/torch 2>/dev/null))
$(RECORD)/torch: FORCE
endif
$(RECORD)/torch: $(RECORD)/venv constraints.txt
	@sed '$(if $(filter torch $(PIN),$(TORCH)),,/^torch==/d)' constraints.txt > $(CONSTRAINTS)
	set -f; $(PIP) $$TORCH
	@{ sed -n '/^torch==/d; /^[a-z]/p' constraints.txt; \
	    $(PY) -c 'from importlib.metadata import version; print("torch==" + version("torch"))'; } > $(CONSTRAINTS)
	@printf '%s\n' "$$TORCH" > $@

# Stage 3: what setup.py needs, then tomolearn, editable: an edit of a Python file needs no other install.
$(RECORD)/installed: $(RECORD)/torch pyproject.toml setup.py setup_cuda.py \
    | $(if $(filter-out 0,$(FORCE_CUDA)),$(RECORD)/nvcc)
	@$(REQUIREMENTS) build-system requires > $(RECORD)/build.txt
	$(PIP) -r $(RECORD)/build.txt
	$(PIP) --no-build-isolation -e '.[plot]'
	@touch $@

# Stage 4: the extensions. Stage 3 compiled them too, in the same folder, so the first time this only says what was
# chosen and why (pip hides it).
ifneq ($(BUILD_CHOICE),$(shell cat $(RECORD)/built 2>/dev/null))
$(RECORD)/built: FORCE
endif
ifneq ($(words $(wildcard tomolearn/_C.so tomolearn/_simulation.so)),2)
$(RECORD)/built: FORCE
endif
$(RECORD)/built: $(RECORD)/installed $(shell find csrc -type f)
	$(PY) setup.py --quiet build_ext --inplace
	@{ :; $(if $(filter-out $(PIN),$(TORCH)),echo 'TORCH ?= $(TORCH)';) \
	   $(foreach name,FORCE_CUDA CUDA_HOME TORCH_CUDA_ARCH_LIST,$(if $($(name)),echo '$(name) ?= $($(name))';)) \
	   } > $(RECORD)/choices.mk
	@echo '$(BUILD_CHOICE)' > $@

# nvcc: the machine's own, or that of the wheels, which then lie in .venv. Where neither can be had the tests of the
# CUDA build are skipped, and fail in CI.
$(RECORD)/nvcc: $(RECORD)/torch pyproject.toml setup_cuda.py FORCE
	@$(PY) setup_cuda.py > $@ 2>/dev/null || { \
	    echo "make: there is no nvcc that fits; it goes into $(VENV), from its wheels" \
	    && $(REQUIREMENTS) project optional-dependencies cuda > $(RECORD)/extra-cuda.txt \
	    && $(PIP) -r $(RECORD)/extra-cuda.txt && $(PY) setup_cuda.py > $@; } \
	    || echo "make: nvcc could not be installed: the tests of the CUDA build will not run" >&2

$(RECORD)/extra-%: $(RECORD)/torch pyproject.toml
	@$(REQUIREMENTS) project optional-dependencies $* > $@.txt
	$(PIP) -r $@.txt
	@touch $@
