# Everything a newcomer needs. Only Python 3.11 or newer and pip must be there.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CLIENTS := $(VENV)/clients/.ready

.PHONY: help setup demo test check quick serve bench load faults docs lock clean

help: ## Say what each target does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1|\2/' \
	  | awk -F'|' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(READY) ## Make the environment in .venv, from the lock file

$(READY): requirements.lock pyproject.toml
	@scripts/setup $(PYTHON) $(VENV)
	@touch $(READY)

# Clients of the S3 door that only tests use, and that need a botocore of their own.
$(CLIENTS): $(READY) tests/clients/requirements.lock
	@echo "Installing clients of S3 for tests into $(VENV)/clients"
	@scripts/environment $(PYTHON) $(VENV)/clients tests/clients/requirements.lock
	@touch $(CLIENTS)

demo: $(READY) ## Start a server, run a real job through boto3, show the result, stop
	@$(BIN)/python scripts/demo.py

test: $(READY) $(CLIENTS) ## Run all tests
	@$(BIN)/python -m pytest

check: $(READY) ## Format, lint, types, import directions, generated pages
	@$(BIN)/ruff format --check src tests benchmarks faults examples scripts
	@$(BIN)/ruff check src tests benchmarks faults examples scripts
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/docs.py --check

quick: $(READY) ## Run the tests that need neither Spark nor Jupyter
	@$(BIN)/python -m pytest -q -m "not spark and not jupyter"

serve: $(READY) ## Start the server on its defaults; Ctrl-C stops it
	@$(BIN)/sparkowl serve

bench: $(READY) ## Measure start-up, calls, memory side by side with plain tools
	@$(BIN)/python -m benchmarks

load: $(READY) ## Ten minutes of 200 clients; fails on errors or growth
	@$(BIN)/python -m benchmarks.load

faults: $(READY) ## Break things at every point of a life, and look what is left (hours)
	@$(BIN)/python -m faults

docs: $(READY) ## Write the reference pages from the code
	@$(BIN)/python scripts/docs.py

lock: $(READY) ## Choose the newest versions that fit and pin them in the lock files
	@scripts/lock $(BIN)

clean: ## Remove the environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
