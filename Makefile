# Every target sets itself up in .venv (hash-locked) on a machine with make and Python 3.11 or newer.

BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --python-version 3.11 --upgrade

# A candidate is run, not only found: a pyenv shim exists for versions that are not switched on.
PYTHONS := $(PYTHON) python3.13 python3.12 python3.11 python3 python
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

PORT := 9092

.PHONY: help setup demo test check broker bench kill lock clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 14

setup: .venv/.ready  ## make .venv from the locked requirements (the others do it when needed)

demo: .venv/.ready  ## run the flights topology embedded: no broker, nothing to install
	$(BIN)/streamfn run topologies/flights.py --until-end

test: .venv/.ready  ## run the whole test suite, on a real Kafka too where one can be started
	$(BIN)/python -m pytest -n 2

check: .venv/.ready  ## lint, format, types, and the tidy rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q tests/test_tidy.py

broker: .venv/.ready  ## run a Kafka for trying things out (port 9092, or make broker PORT=19092)
	$(BIN)/python -m tests.kafka_broker --port $(PORT)

bench: .venv/.ready  ## measure streamfn beside its peers, and what a week of windows leaves behind
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.week

kill: .venv/.ready  ## kill the flights job thirty times with -9 and compare every figure
	$(BIN)/python -m tests.kill_flights --kills 30

lock: .venv/.ready  ## lock the newest versions that pyproject.toml and requirements/*.in allow
	$(LOCK) requirements/build.in --output-file requirements/build.txt
	$(LOCK) pyproject.toml --extra demo --extra faust --extra protobuf --extra registry requirements/dev.in \
		--output-file requirements/dev.txt

clean:  ## remove .venv and what the tools have cached
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .cache build *.egg-info

# uv is many times faster, but pip knows more ways to be told of a proxy or a mirror: it is the second try.
.venv/.ready: pyproject.toml requirements/build.txt requirements/dev.txt
	@rm -f $@; $(BIN)/python -c '$(USABLE)' 2>/dev/null || { \
		for python in $(PYTHONS); do \
			"$$python" -c '$(USABLE)' 2>/dev/null && break; python=; \
		done; \
		if [ -z "$$python" ]; then \
			echo 'streamfn needs Python 3.11 or newer (with venv); none was found;' \
				'install one, or name it: make PYTHON=/path/to/python' >&2; \
			exit 1; \
		fi; \
		echo "making .venv with $$($$python --version)"; \
		"$$python" -m venv --clear .venv; \
	}
	@echo 'installing the locked requirements'
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/build.txt
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --require-hashes --no-deps \
		--no-build-isolation -r requirements/dev.txt \
		|| $(BIN)/python -m pip install --quiet --require-hashes --no-deps \
		--no-build-isolation -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
