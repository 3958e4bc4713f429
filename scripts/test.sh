#!/usr/bin/env bash
# Lint, types, the floors of the package, and tests.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" test
export JAX_PLATFORMS=cpu
ruff check .
ruff format --check .
mypy
lint-imports
python -m pytest -n "${TEST_PROCESSES:-2}" --dist loadfile "$@"
