# Everything starts here. A bare machine needs Python >= 3.11 with venv, git and make, nothing else:
# each target sets up what is missing first. GNU make 3.81, which macOS ships, is enough.

# All locked packages exist as wheels for 3.11 to 3.14; for the first two, PostgreSQL and Redis too.
PYTHON := python3.12 python3.11 python3.13 python3.14 python3
UV_VERSION := 0.13.8

ENV := .venv/bin
READY := .venv/ready

# uv reads none of pip's settings, so a mirror that only pip was told about is handed on.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.PHONY: setup run test test-long check bench format

setup: $(READY)
	@:

# The first suitable Python makes the environment; whatever is missing is named, all at once.
$(ENV)/python:
	@missing=; python=; \
	need() { echo "make setup needs $$1 (Debian: apt-get install $$2)" >&2; missing=yes; }; \
	for candidate in $(PYTHON); do \
		$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		python=$$candidate; \
		$$candidate -c 'import ensurepip, venv' 2>/dev/null && break; \
	done; \
	command -v git >/dev/null || need git git; \
	if [ -z "$$python" ]; then need "Python >= 3.11 with venv" "python3 python3-venv"; \
	elif ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		need "the venv module of $$python" "$${python##*/}-venv"; fi; \
	[ -z "$$missing" ] || exit 1; \
	echo "Setting up .venv with $$($$python --version) …"; \
	$$python -m venv --clear --without-pip .venv

# From the lock by way of requirements, because those name hashes but no registry: any mirror will do.
# Where uv cannot reach the registry, pip may: it knows the machine's own indexes and certificates.
$(READY): pyproject.toml uv.lock | $(ENV)/python
	@$(ENV)/python -m ensurepip >/dev/null
	@$(ENV)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(ENV)/uv export --quiet --frozen --output-file .venv/requirements.txt
	@$(ENV)/uv pip sync --quiet --python .venv --require-hashes .venv/requirements.txt || { \
		echo "uv cannot reach the registry; pip tries …" >&2; \
		$(ENV)/python -m pip install --quiet --no-deps --require-hashes -r .venv/requirements.txt; }
	@touch $@

run: setup
	@exec $(ENV)/python manage.py quickstart

# Both databases always get their turn; the first failure does not hide the second.
suite = failed=; for database in sqlite postgresql; do \
		printf '\n== the suite on %s ==\n' $$database; \
		TEST_DATABASE=$$database $(ENV)/python -m pytest $(1) || failed="$$failed $$database"; \
	done; [ -z "$$failed" ] || { echo "Failed on:$$failed" >&2; exit 1; }

test: setup
	@$(call suite,-q -n 2 --dist loadfile)

test-long: test
	@$(call suite,-m long -n 2 --dist loadfile)

check: export DATABASE_URL = sqlite://:memory:
check: setup
	$(ENV)/ruff format --check
	$(ENV)/ruff check
	$(ENV)/mypy
	$(ENV)/lint-imports
	$(ENV)/python manage.py makemigrations --check --dry-run
	env -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_INDEX $(ENV)/uv --no-config lock --check --offline

bench: setup
	$(ENV)/python -m bench
	$(ENV)/python -m bench.counters

format: setup
	$(ENV)/ruff check --fix
	$(ENV)/ruff format
