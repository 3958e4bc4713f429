#!/usr/bin/env bash
# Makes the virtual environment .venv with the locked packages; does nothing when it is up to date.
# Sourced by demo.sh and test.sh, with the extra's lock file as argument: source scripts/setup.sh [test]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
[ -d .venv ] || "$python" -m venv .venv
# shellcheck disable=SC1091
source .venv/bin/activate
stamp=.venv/.installed-${1:-run}${TEST_ALL:+-all}
wanted=$(cat pyproject.toml requirements*.lock | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
  echo "installing into .venv (a few minutes the first time)"
  pip install --quiet --disable-pip-version-check -r requirements.lock
  if [ "${1:-run}" = test ]; then
    pip install --quiet --disable-pip-version-check -r requirements-test.lock ${TEST_ALL:+-r requirements-cluster.lock -r requirements-serve.lock}
  fi
  pip install --quiet --disable-pip-version-check --no-deps -e .
  echo "$wanted" > "$stamp"
fi
