# The commands of the project. They need make and Python 3.11-3.13 with venv; everything else is installed into .venv.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
STAMP := $(VENV)/.compiled
# Processes that the tests run in: three keep two cores busy, since each waits at times. 0 is one that shows its output as it comes.
JOBS ?= 3
# Without what Python keeps of compiled modules, each of the hundred processes that the tests start compiles all of ptyxas again.
unexport PYTHONDONTWRITEBYTECODE
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)

.PHONY: help venv demo study test studies survive coverage lowest lint bench accept paper docs site clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## Create .venv and install ptyxas and the tests' dependencies into it

demo: $(STAMP)  ## Simulate a measurement, submit it over REST, compare the maps with the truth
	$(BIN)/ptyxas demo

study: $(STAMP)  ## Analyse six simulated particles in two groups; writes the gallery of docs/figures.md
	$(BIN)/ptyxas study --gallery docs/figures

test: $(STAMP)  ## Run every test (types, style, contracts and deployment files included)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not study"

studies: $(STAMP)  ## Run the slow studies that make test leaves out: claims on further specimens
	$(BIN)/python -m pytest -m study

survive: $(STAMP)  ## Kill workers, services and schedulers at random moments, three times as often as the tests do
	PTYXAS_TEST_DEATHS=3 $(BIN)/python -m pytest tests/end_to_end/test_killed_at_random.py

coverage: $(STAMP)  ## Run every test and print the lines that none reaches
	$(BIN)/python -m pytest --cov --cov-report=term --cov-report=xml

lowest:  ## Run the fast tests with the lowest versions that pyproject.toml allows, in .venv-lowest
	bash .ci/lowest

lint: $(STAMP)  ## Check style, types and import contracts only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## Print the timings that docs/performance.md states
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

accept: $(STAMP)  ## Run the full-size acceptance study (some minutes) and print its errors against the truth
	$(BIN)/python tests/end_to_end/accept.py

SIZE ?= paper
paper: $(STAMP)  ## Analyse a particle of the paper's size (11 GB, SIZE=small for less) and print times, memory and errors
	$(BIN)/python tests/end_to_end/paper.py --size $(SIZE)

docs: $(STAMP)  ## Write the pages of docs/ that are generated from the code
	$(BIN)/python -m docs.write

site: $(STAMP)  ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:  ## Remove .venv and every cache
	rm -rf $(VENV) .venv-lowest site .coverage coverage.xml .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info

# The fit's machine code is compiled ahead: a process that compiles it gets other last bits than one that loads it.
$(STAMP): $(INSTALLED) $(wildcard tasks/xanes/*.py tasks/xanes/compiled/*.py)
	@$(BIN)/python -c 'from tasks.xanes.fit import compile_ahead; compile_ahead()' && touch $@

$(INSTALLED): pyproject.toml constraints.txt
	@python=""; \
	for candidate in $(CANDIDATES); do \
	    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; \
	    then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "ptyxas needs Python 3.11, 3.12 or 3.13 with venv; found none among: $(CANDIDATES) (name one: make PYTHON=/path/to/python3)" >&2; exit 1; fi; \
	test -x $(BIN)/python || "$$python" -m venv $(VENV); \
	echo "Installing ptyxas into $(VENV) with $$($(BIN)/python --version): 2 GB, a few minutes"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]' && touch $@
