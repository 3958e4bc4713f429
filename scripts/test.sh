#!/usr/bin/env bash
# Lint, types, the floors of the package, and tests.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" test
export JAX_PLATFORMS=cpu
ruff check .
ruff format --check .
mypy
lint-imports
# Those that start many processes or a cluster take minutes: TEST_ALL=1 runs them, too, and compiles as users do.
chosen=(-m "not slow")
[ -z "${TEST_ALL:-}" ] || chosen=()
python -m pytest -n "${TEST_PROCESSES:-2}" --dist loadfile "${chosen[@]}" "$@"
