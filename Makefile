VENV ?= .venv
BIN := $(VENV)/bin
# Folders of wheels where the machine has some; else uv chooses the torch build that fits the machine (CPU or CUDA).
TORCH := $(if $(PIP_FIND_LINKS),$(addprefix --find-links ,$(PIP_FIND_LINKS)),--torch-backend=auto)
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt $(TORCH)
# How long `make soak` tries seed after seed; the counts add up in docs/soak.md.
MINUTES ?= 60
.DEFAULT_GOAL := help
.PHONY: help install demo lint test bench soak clean

help:                        ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

$(VENV)/.run: pyproject.toml constraints.txt
	test -x $(BIN)/uv || (python3 -m venv $(VENV) && $(BIN)/pip install --quiet -c constraints.txt 'uv>=0.5,<1')
	$(UV) -e .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(UV) -e '.[test]'
	touch $@

install: $(VENV)/.run        ## Create the environment that running needs

demo: install                ## Synthetic archive, convert, train, score, report
	$(BIN)/cardioclarity demo

lint: $(VENV)/.test          ## Format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint                   ## What must hold before a commit
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist loadfile

bench: $(VENV)/.test         ## Ratios against peers, side by side in one run
	$(BIN)/python -m bench

soak: $(VENV)/.test          ## The checks that take hours
	tests/servers/install-ceph
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m soak
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/soak.py --minutes $(MINUTES)

clean:                       ## Remove the environment and the demo's output
	rm -rf $(VENV) cardioclarity-data/demo cardioclarity-data/demo-archive-*
