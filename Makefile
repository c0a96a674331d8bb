# Two commands do everything on a machine that has Python 3.11+, make and a package index: `make demo`, `make test`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
WORKERS ?= 3

.PHONY: demo test check format environment clean prove soak bench bench-quick bench-profile interop

environment: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "conduit needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/quickstart/demo.py

# The demo needs the package alone; the tests' environment has it too.
$(VENV)/.installed: pyproject.toml
	test -f $(READY) || ($(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check -e .)
	touch $@

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_architecture.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Kills, freezes, cut connections, failing disks and broken state files, once; and every rule broken on purpose.
prove: $(READY)
	$(BIN)/python -m tests.proof.prove -q -n $(WORKERS)

# The same for MINUTES, by a seeded schedule. Writes docs/proof/ and the table of docs/guarantees.md.
MINUTES ?= 20
SEED    ?= $(shell date +%Y%m%d)
soak: $(READY)
	$(BIN)/python -m tests.proof.soak --minutes $(MINUTES) --seed $(SEED) $(if $(PART),--part '$(PART)')

# Beside the limits and other tools; ONLY="pg-to-pg memory" for some scenarios, HUGE=1 for 20 M rows, PEERS= for the
# folder of the others' environments. Writes benchmarks/results.json, docs/benchmarks.md and docs/benchmarks.svg.
PEERS ?= build/peers
bench: $(READY)
	$(BIN)/python -m benchmarks.run --only "$(ONLY)" --peers $(PEERS) $(if $(HUGE),--huge)

bench-quick: $(READY)
	$(BIN)/python -m benchmarks.run --quick --only "$(ONLY)" --peers $(PEERS)

# Where the time of SCENARIO goes, or of the usual ones; into docs/benchmarks.md too.
bench-profile: $(READY)
	$(BIN)/python -m benchmarks.profiling $(SCENARIO)

# Other engines read what iceframe writes; they need versions of their own, so they get an environment of their own.
INTEROP := .venv-interop
interop: $(READY)
	test -d $(INTEROP) || $(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/interop/requirements.txt
	rm -rf build/interop && mkdir -p build/interop
	$(BIN)/python -m tests.interop.tables $(CURDIR)/build/interop
	$(INTEROP)/bin/python tests/interop/engines.py $(CURDIR)/build/interop

clean:
	rm -rf $(VENV) $(INTEROP) build dist .mypy_cache .ruff_cache .pytest_cache examples/quickstart/data
