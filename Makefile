# Every command makes what it needs: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.PHONY: help demo up down setup test fuzz chaos lint format lock db shell migration migrate rollback api-token bench clean

help: ## Show these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# The lock is what runs, everywhere; pip refuses a package whose hash is not in it.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Logbox needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## Set up, start, fly a small fleet, ingest, show what came out (ARGS=--exit stops when done)
	@$(BIN)/logbox demo $(ARGS)

up: $(READY) ## Run the embedded stack in the foreground
	@$(BIN)/logbox up

down: $(READY) ## Stop it, from any terminal
	@$(BIN)/logbox down

setup: $(READY) ## Make buckets, roles, databases, tables; again is harmless
	@$(BIN)/logbox setup

test: $(READY) ## Run the tests on a Postgres and an S3 of their own (ARGS goes to pytest)
	@$(BIN)/python -m pytest -n 3 $(ARGS)

fuzz: $(READY) ## Damage logs of every format, cases=20000 of each, and look that nothing breaks
	@LOGBOX_FUZZ_CASES=$(or $(cases),20000) $(BIN)/python -m pytest -n 2 \
		logbox_pipeline_tests/formats/test_fuzz.py $(ARGS)

chaos: $(READY) ## Let a fleet fly while everything fails, and look that nothing is missing (seed=N minutes=5)
	@$(BIN)/python -m logbox_pipeline_tests.chaos $(if $(seed),--seed $(seed)) --minutes $(or $(minutes),5) $(ARGS)

lint: $(READY) ## ruff, format, types, import rules, compose schema
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m logbox_pipeline_tests.compose_schema

format: $(READY) ## Let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(READY) ## Pin the newest compatible versions again
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-strip-extras --extra pipeline --extra dev --upgrade \
		pyproject.toml --output-file requirements.lock

db: $(READY) ## psql on the pipeline's database
	@$(BIN)/logbox db

shell: $(READY) ## A shell with the stack's environment
	@$(BIN)/logbox shell

migration: $(READY) ## name=create_x: an empty migration
	@test -n "$(name)" || { echo 'say which: make migration name=create_x' >&2; exit 2; }
	@$(BIN)/logbox migrate new $(name)

migrate: $(READY) ## Apply pending migrations
	@$(BIN)/logbox migrate up

rollback: $(READY) ## Roll the newest migration back
	@$(BIN)/logbox migrate down $(ARGS)

api-token: $(READY) ## client=mylittledrone: a client and its key, printed once
	@test -n "$(client)" || { echo 'say whose: make api-token client=mylittledrone' >&2; exit 2; }
	@$(BIN)/logbox client add $(client)

bench: $(READY) ## Measure, beside peers and limits, and keep the results (ARGS names parts)
	@$(BIN)/logbox bench --save $(ARGS)

clean: ## Remove the virtual environment and caches; data under .logbox stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
