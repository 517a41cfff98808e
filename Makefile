# Modelyard. `make` alone lists what there is; settings are MODELYARD_* variables (README.md).

PYTHON ?= python3
BIN := .venv/bin
# Taken once: every step shows the time since then.
MODELYARD_RUN_STARTED := $(or $(MODELYARD_RUN_STARTED),$(shell date +%s))
export MODELYARD_RUN_STARTED

.DEFAULT_GOAL := help
.PHONY: help run down quantizers backup backup-key rotate-key restore test soak check fix bench docs lock environment environment-dev

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1  \t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: environment ## start Modelyard here, with a first model; Ctrl-C stops it
	@$(BIN)/python -m workers.launcher run

down: environment ## stop Modelyard and its engines
	@$(BIN)/python -m workers.launcher down

quantizers: environment ## build the images of quantisers and of vLLM for processors
	@$(BIN)/python -m workers.launcher quantizers

backup: environment ## save everything but the master key to one file, also while it runs
	@$(BIN)/python -m webapp.operations backup $(if $(TO),--to '$(TO)')

backup-key: environment ## save the master key to a file that a passphrase opens
	@$(BIN)/python -m webapp.operations backup-key $(if $(TO),--to '$(TO)')

rotate-key: environment ## replace the master key and encrypt everything anew, also while it runs
	@$(BIN)/python -m webapp.operations rotate-key

restore: environment ## put a backup in the place of what is here: make restore FROM=file [KEY=keyfile]
	@test -n '$(FROM)' || { echo 'Name the backup: make restore FROM=var/backups/modelyard-....tar.gz'; exit 1; }
	@$(BIN)/python -m webapp.operations restore '$(FROM)' $(if $(KEY),--key '$(KEY)')

test: ## install what the tests need and run every suite; ONLY=unit one suite, T=tests/usage one folder, file or test
	@$(PYTHON) tests/run.py $(if $(ONLY),--only $(ONLY)) $(if $(T),-- $(T))

soak: ## the long tests: crashes, lost messages, hostile files by the million; T=tests/workers/test_soak.py some of them
	@$(PYTHON) tests/run.py --only soak $(if $(T),-- $(T))

check: environment-dev ## style, types, import contracts, migrations, OpenAPI file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export MODELYARD_STATE_DIR="$$folder" && set -ex && \
	$(BIN)/mypy . && \
	$(BIN)/lint-imports && \
	$(BIN)/python manage.py check --deploy --fail-level WARNING && \
	$(BIN)/python manage.py makemigrations --check --dry-run && \
	$(BIN)/python -m webapp.interfaces.api.openapi --check

fix: environment-dev ## format, and repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: environment-dev ## measure the figures of the README; ONLY=gateway one group: run gateway live quantise close
	$(BIN)/python -m tests.bench $(ONLY)

docs: ## where to read on
	@echo "README.md is the first hour, CONTRIBUTING.md is for working on it, DECISIONS.md says why."

lock: environment-dev ## renew every lock file
	uv pip compile --generate-hashes --no-emit-index-url --universal --python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile --generate-hashes --no-emit-index-url --universal --python-version 3.11 --group dev pyproject.toml -o requirements-dev.lock

environment:
	@$(PYTHON) workers/launcher/environment.py

environment-dev:
	@$(PYTHON) workers/launcher/environment.py --dev
