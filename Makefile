# `make run` and `make test` need Python >= 3.11 and nothing else; uv comes from the package registry.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null && { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled bytecode is what makes the second start fast.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test check fast docs-check integration e2e bench lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "Aerodrome needs Python 3.11 to 3.14; none was found. Install one (Debian: apt install python3.11 python3.11-venv) or name it: make PYTHON=/path/to/python run"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || { echo "Aerodrome needs Python 3.11 to 3.14; $(PYTHON) is $$("$(PYTHON)" --version 2>&1)."; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { echo "$(PYTHON) has no venv module (Debian: apt install python3-venv)"; exit 1; }
	@awk '/^uv==/ {on=1; print; next} on && /^    --hash/ {print; next} {on=0}' requirements/product.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement $(VENV)/uv.txt

$(VENV)/.product: $(BIN)/uv requirements/product.txt pyproject.toml
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/product.txt
	@echo "$(CURDIR)/src" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/aerodrome-src.pth"
	@printf '#!%s\nfrom aerodrome.cli.main import main\nmain()\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/aerodrome && chmod +x $(BIN)/aerodrome
	@rm -f $(VENV)/.dev; touch $@

$(VENV)/.dev: $(VENV)/.product requirements/dev.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@touch $@

run: $(VENV)/.product ## set everything up, create an environment, run a DAG in it, print the URL
	@$(BIN)/aerodrome demo $(ARGS)

check: $(VENV)/.dev ## lint, types, import contracts, known advisories, docs tests, fast tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python tests/support/advisories.py requirements/dev.txt requirements/cloud.txt
	@$(BIN)/pytest -q -n 3 --dist worksteal -m "not exhaustive" tests/unit tests/contract

test: check ## everything: check, then the tests with real servers, then with real Airflow
	@tests/system-packages
	@$(BIN)/pytest -q -n 2 --dist worksteal -m exhaustive tests/unit
	@$(BIN)/pytest -q -n 2 --dist loadscope --no-loadscope-reorder tests/integration tests/e2e --ignore tests/e2e/test_kills.py --timeout 900
	@$(BIN)/pytest -q tests/e2e/test_kills.py --timeout 900 # alone: what is killed is promised back within seconds

bench: $(VENV)/.dev ## measure against peers; ARGS=--quick for one round
	@$(BIN)/python -m bench.create $(ARGS)
	@$(BIN)/python -m bench.latency $(if $(findstring --quick,$(ARGS)),--quick)
	@$(BIN)/python -m bench.auth $(if $(findstring --quick,$(ARGS)),--quick)
	@$(BIN)/python -m bench.cli $(ARGS)
	@$(BIN)/python -m bench.content $(ARGS)

lock: $(BIN)/uv ## pin the dependencies of pyproject.toml again, with hashes
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url pyproject.toml --output-file requirements/product.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url pyproject.toml --group dev --constraints requirements/product.txt --output-file requirements/dev.txt
	@printf 'ministack==%s\ncryptography\n' "$$(sed -n 's/^ministack==\([0-9.]*\).*/\1/p' requirements/cloud.txt)" \
		| $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url - --output-file requirements/cloud.txt

clean: ## remove the virtual environment and caches (not AERODROME_HOME)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
