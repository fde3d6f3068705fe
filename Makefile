# Two commands do everything on a machine that has Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: demo test others bench docs torture lint types format clean all
all: lint types test

$(STAMP): pyproject.toml scripts/setup.sh
	PYTHON="$(PYTHON)" sh scripts/setup.sh "$(VENV)"
	touch $(STAMP)

demo: $(STAMP)  ## kill a saving process again and again, and prove that nothing acknowledged is lost
	$(BIN)/axiom-persistence demo

test: $(STAMP)  ## every test; servers and tools they need are installed by scripts/setup.sh
	$(BIN)/python -m pytest

others: $(STAMP)  ## what takes under two minutes, on the newest other Python that is installed
	sh scripts/others.sh

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/pyright

torture: $(STAMP)  ## 500 SIGKILLs in each embedded store and right after assignments; 20,000 times Ctrl-C; 60 s of cancellation
	$(BIN)/python -m tests.torture --kills 500
	$(BIN)/python tests/support/client_kills.py --store sqlite --kills 500
	$(BIN)/python tests/support/client_kills.py --store file --kills 500
	$(BIN)/python tests/support/client_kills.py --store sqlite --encrypted --kills 500
	$(BIN)/python tests/support/client_kills.py --store file --encrypted --kills 500
	$(BIN)/python -m tests.torture.keychain --kills 50
	$(BIN)/python tests/support/snapshot_kills.py --store sqlite --snapshots 200 --kills 50
	$(BIN)/python tests/support/snapshot_kills.py --store file --snapshots 200 --kills 50 --records 300
	$(BIN)/python -m tests.torture.ruins --damages 2000 --kills 200
	SQLITE_LIVES=300 $(BIN)/python -m pytest -q -n 0 tests/adapters/test_sqlite_witness.py
	$(BIN)/python tests/support/archive_kills.py --records 1000000 --kills 12
	$(BIN)/python tests/support/erase_kills.py --store sqlite --kills 50
	$(BIN)/python tests/support/erase_kills.py --store file --kills 50
	$(BIN)/python -m tests.torture.erasure --subjects 10000
	$(BIN)/python -m tests.interrupts --interrupts 20000
	cd tests && ../$(BIN)/python -m support.audit_kills --store sqlite --kills 200
	cd tests && ../$(BIN)/python -m support.audit_kills --store file --kills 50
	AUDIT_ENTRIES=100000 $(BIN)/python -m pytest -q -n 0 tests/jobs/test_audit.py
	$(BIN)/python -m tests.torture.cancellation --seconds 60
	$(BIN)/python -m tests.torture.listings --questions 10000
	$(BIN)/python -m tests.torture.encryption --store sqlite --records 20000 --kills 50
	$(BIN)/python -m tests.torture.encryption --store file --records 2000 --kills 50
	$(BIN)/python -m tests.torture.migration --store sqlite --records 50000 --kills 200
	$(BIN)/python -m tests.torture.migration --store file --records 2000 --kills 200
	$(BIN)/python -m tests.torture.schedules --schedules 100000
	$(BIN)/python -m tests.torture.schedules --icloud --schedules 5000
	PYTHONPATH=tests $(BIN)/python -m tests.torture.devices --seconds 120
	$(BIN)/python -m tests.torture.stacks --runs 500
	$(BIN)/python -m tests.torture.first_sync --records 50000
	PYTHONPATH=tests $(BIN)/python -m tests.torture.postgres --kills 100 --replies 1000
	PYTHONPATH=tests $(BIN)/python -m tests.torture.redis --kills 100 --replies 1000
	AXIOM_TEST_STORES=postgres $(BIN)/python -m pytest tests/persistence tests/store tests/isolation tests/adapters -k postgres
	PYTHONPATH=tests $(BIN)/python -m tests.torture.objects --kills 100 --replies 1000
	PYTHONPATH=tests $(BIN)/python -m tests.torture.objects --on moto --replies 1000
	PYTHONPATH=tests $(BIN)/python -m tests.torture.objects --on azurite --replies 1000
	AXIOM_TEST_STORES=objects $(BIN)/python -m pytest tests/persistence tests/store tests/isolation tests/adapters -k objects
	AXIOM_TEST_STORES=objects AXIOM_TEST_OBJECTS=moto $(BIN)/python -m pytest tests/persistence tests/store tests/isolation -k objects
	AXIOM_TEST_STORES=objects AXIOM_TEST_OBJECTS=azurite $(BIN)/python -m pytest tests/persistence tests/store tests/isolation -k objects
	AXIOM_TEST_STORES=redis $(BIN)/python -m pytest tests/persistence tests/store tests/isolation tests/adapters -k redis

bench: $(STAMP)  ## peers in the same run; writes docs/benchmarks.md and docs/benchmarks.svg
	$(BIN)/pip install --quiet --disable-pip-version-check --group bench
	$(BIN)/python -m benchmarks

docs: $(STAMP)  ## the site, in site/index.html; a link that leads nowhere fails it; needs no network
	$(BIN)/python -m sphinx -b html -E -a -j auto -q -W --keep-going -d site/.doctrees docs site

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
