# Everything runs in .venv, which is made on first use and brought up to date when a requirements
# file changes. Needs Python 3.11 or later with venv, and nothing else.
#   make test PYTHON=python3.13      another Python, for a .venv that is not there yet
#   make test ARGS='-k threading'    options for pytest; -n0 runs in one process
#   make test REQUIRE_SERVERS=1      a real server that is missing is a failure, not a skip
#   make test TEST_DATABASE_URL=...  a PostgreSQL of your own, whose user may create databases

.DEFAULT_GOAL := help
.PHONY: help demo test test-coexistence check bench bench-peers fix install clean
.DELETE_ON_ERROR:

BIN := .venv/bin
PYTHONS := $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14

help: ## List what make can do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1: \2/p' Makefile | while IFS=: read -r name text; do \
		printf '  make %-18s%s\n' "$$name" "$$text"; done

demo: .venv/requirements-demo.stamp ## Show it all on a made-up company, with embedded mail servers
	@$(BIN)/python -m backend.demo $(ARGS)

test: .venv/requirements-dev.stamp ## Run every test, on SQLite, PostgreSQL and the mail servers found
	@$(BIN)/python -m pytest -n auto $(ARGS)

test-coexistence: .venv/requirements-dev.stamp ## Prove at length that both scripts get on; prints figures
	@# Its workers often wait for locks and for servers: one more than there are cores.
	@COEXISTENCE=long $(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) \
		--dist worksteal tests/coexistence $(ARGS)

bench: .venv/requirements-dev.stamp ## Measure it beside other programs; ARGS=--quick takes minutes
	@$(BIN)/python -m tests.bench $(ARGS)

bench-peers: .venv/requirements-dev.stamp ## Install the Python peers of `make bench`, in .venv/bench
	@$(BIN)/python -m venv .venv/bench
	@.venv/bench/bin/pip install --quiet --disable-pip-version-check \
		-r tests/bench/peer_scripts/requirements.txt

check: .venv/requirements-dev.stamp ## Lint, formatting and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

fix: .venv/requirements-dev.stamp ## Correct what lint and formatting can correct by themselves
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

install: .venv/requirements.stamp ## Make .venv with what an installation needs to run
	@echo "Ready. Next:  $(BIN)/python backend/scripts/manage.py init"

clean: ## Remove .venv, caches and the demo's directory; never your settings, data or logs
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis backend/demo/run
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/requirements-demo.stamp: requirements.txt
.venv/requirements-dev.stamp: requirements.txt requirements-demo.txt

.venv/%.stamp: %.txt | $(BIN)/python
	@echo "Installing $< into .venv (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(BIN)/python:
	@for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		exec "$$python" -m venv .venv; \
	done; \
	echo "Python 3.11 or later was not found; name one: make PYTHON=/path/to/python3" >&2; exit 1
