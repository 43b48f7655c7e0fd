# make demo    a sample repository, a real review of its pull request, and the dashboard that shows it
# make test    the whole test suite, as continuous integration runs it
# make corpus  reviews of real releases: the verdict names the right tests
# make agents  the real agents that are too big for each run
# make check   the quick loop while developing (under a minute)
# make serve   the dashboard on your own data        make lint   style, types, import contracts
# make setup   what all of these need                make lock   renew the pinned versions

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
BIN := .venv/bin
# npm and node come from the system when it has them, else from a package of PyPI in .venv.
NPM := $(shell command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1 && echo npm || echo $(BIN)/npm)
export PATH := $(PATH):$(CURDIR)/.venv/bin
DEMO_HOME := $(CURDIR)/.demo
QUICK := tests/architecture tests/runner tests/jobs tests/offload_web tests/terminals tests/contracts

.PHONY: setup setup-test demo demo-stop serve test corpus agents check lint lock clean

setup: .venv/.runtime node_modules/.package-lock.json

setup-test: .venv/.dev node_modules/.package-lock.json tests/support/gemini/node_modules/.package-lock.json \
		tests/support/agents/node_modules/.package-lock.json
	@.ci/system-packages test

.venv/.system: .ci/system-packages
	@test -n "$(PYTHON)" || { echo "Offload needs Python 3.11 or newer; none was found on PATH." >&2; exit 1; }
	@.ci/system-packages run
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is missing. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@touch $@

.venv/.runtime: .venv/.system requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

.venv/bin/npm: .venv/.system requirements-node.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-node.txt
	@touch $@

node_modules/.package-lock.json: package.json package-lock.json | .venv/.system $(filter $(BIN)/npm,$(NPM))
	$(NPM) ci --no-audit --no-fund --loglevel=error
	@touch $@

tests/support/%/node_modules/.package-lock.json: tests/support/%/package.json tests/support/%/package-lock.json | $(filter $(BIN)/npm,$(NPM))
	$(NPM) ci --prefix tests/support/$* --no-audit --no-fund --loglevel=error
	@touch $@

# Without a lock: not every registry has its packages for all platforms.
tests/support/opencode/node_modules/.package-lock.json: tests/support/opencode/package.json | $(filter $(BIN)/npm,$(NPM))
	$(NPM) install --prefix tests/support/opencode --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

demo: setup
	@OFFLOAD_HOME="$(DEMO_HOME)" $(BIN)/python manage.py demo

demo-stop:
	@OFFLOAD_HOME="$(DEMO_HOME)" $(BIN)/python manage.py demo --stop

serve: setup
	@$(BIN)/python manage.py serve

test: setup-test lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not corpus and not agents"

agents: setup-test tests/support/opencode/node_modules/.package-lock.json
	$(BIN)/python -m pytest tests/jobs/execution/test_more_agents.py

corpus: setup-test
	$(BIN)/python -m pytest tests/acceptance/test_corpus.py

check: setup-test
	$(BIN)/python -m pytest -n 2 --dist loadfile $(QUICK) -m "not slow and not agents"

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	node_modules/.bin/tsc --project .
	$(BIN)/codespell

lock: .venv/.dev
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url --no-emit-find-links --upgrade --extra postgres --extra speed -o requirements.txt pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url --no-emit-find-links --upgrade --extra dev -c requirements.txt -o requirements-dev.txt

clean: demo-stop
	rm -rf .venv node_modules .demo
