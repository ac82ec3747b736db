# make demo       the dashboard on a built-in sample, photographs of hazelnuts
# make dashboard  the dashboard, empty
# make test       everything that .ci/run checks
# make test-all   the same with the arithmetic on every model family
# make bench      speed and memory, as ratios to the bare network
# make bench-peers  the same images with anomalib's PatchCore, in turn
# make fuzz       12,000 malformed inputs, ten minutes; SEED=1 takes others, ONLY=SEED:NUMBER one again
# make soak       eight browsers and 150 cycles on one server; BROWSERS=2 CYCLES=10 is a short one
# make measured   the figures on the cards of the samples
# make screenshots, make samples, make lint

PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
SHELL_ON_DEBIAN = apt-get update -qq && apt-get install -y -qq chromium-headless-shell

.PHONY: demo dashboard test test-all test-computing test-walks test-ray lint bench bench-peers fuzz soak screenshots samples measured chromium clean

demo: $(VENV)/installed
	PORT=$(PORT) $(BIN)/lake dashboard --sample hazelnut

dashboard: $(VENV)/installed
	PORT=$(PORT) $(BIN)/lake dashboard

# One after the other: beside each other the whole takes as long (26 minutes against 27 on two cores), and walks fail for time. Ray
# starts processes that each need a core and are given a time.
RAY = tests/core/evaluation/test_ray_engine.py
# Few arenas: each thread of a page's run would leave one behind, gigabytes in all.
PYTEST = OMP_NUM_THREADS=1 MALLOC_ARENA_MAX=2 COVERAGE_FILE=.coverage.$@ $(BIN)/python -m pytest --cov --cov-report=

test: lint chromium
	$(MAKE) --no-print-directory --keep-going test-computing test-walks test-ray
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='lake_core/*' --fail-under=95
	$(BIN)/coverage report --include='dashboard/*' --fail-under=90

test-computing:
	$(PYTEST) tests/core tests/dashboard tests/fuzz --ignore=$(RAY) -n 2 --dist worksteal $(FAMILIES)

test-walks:
	$(PYTEST) tests/e2e

test-ray:
	$(PYTEST) $(RAY)

test-all: export FAMILIES = --all-families
test-all: test

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/benchmarks -q

bench-peers: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[peers]'
	$(BIN)/python -m tests.benchmarks.peers

fuzz: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seed $(or $(SEED),0) $(if $(ONLY),--only $(ONLY))

soak: $(VENV)/installed-dev chromium
	MALLOC_ARENA_MAX=2 $(BIN)/python -m tests.e2e.soak --browsers $(or $(BROWSERS),8) --cycles $(or $(CYCLES),150)

screenshots: $(VENV)/installed-dev chromium
	$(BIN)/python -m tests.e2e.take_screenshots --out assets/screenshots

samples: $(VENV)/installed-dev
	$(BIN)/python assets/samples/make.py

measured: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.core.measured_samples

# A browser for the end-to-end tests: Chromium's headless shell, which draws no windows around its pages, where it is or can be had
# from the system; else Chromium where it is, else Playwright's own download of the shell.
chromium: $(VENV)/installed-dev
	@command -v chromium-headless-shell \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get && $(SHELL_ON_DEBIAN); } \
	|| command -v chromium || command -v chromium-browser || command -v google-chrome \
	|| { command -v sudo && command -v apt-get && sudo sh -c '$(SHELL_ON_DEBIAN)'; } \
	|| $(BIN)/playwright install --only-shell chromium

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "LAKE Explorer needs Python 3.11 or newer; name it with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV)
