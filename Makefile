# make run    set up, compute the bundled crystals on both rungs, fit the model, show the table
# make test   set up, run every test, two at a time (real Quantum ESPRESSO, real Redis)
# make docs   build this project's site into build/site/
.PHONY: setup run test lint bench docs

FARM := .venv/bin/farm

setup:
	@deploy/setup.sh

run: setup
	@$(FARM) seed --protocol demo --max-atoms 4
	@$(FARM) up --until-idle

test:
	@deploy/setup.sh browser
	@.venv/bin/python -m pytest -n 2 --dist loadfile

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

docs: setup
	@.venv/bin/mkdocs build --strict

bench: setup
	@for script in benchmarks/*.py; do echo "== $$script"; .venv/bin/python $$script || exit 1; done
