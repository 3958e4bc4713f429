#!/usr/bin/env bash
# A short visit to an accelerator: the parts of gpu.py, each in a process of its own and in bounded time.
#
#   bash scripts/bench/gpu.sh [PART ...]     all parts, or those named; PART:OPTION:OPTION gives gpu.py options
#                                            (step:--networks=alexnet); PART+PART compiles side by side,
#                                            and training steps are timed in turn once all have compiled
#
# OUT: where results go (gpu-visit). TOY=--toy: a rehearsal on a CPU. LIMIT: seconds that a part may take.
# CACHE: where PyTorch's compiler keeps what it makes, for several calls.
set -u
cd "$(dirname "$0")/../.." || exit
OUT=${OUT:-gpu-visit} LIMIT=${LIMIT:-120} PYTHON=${PYTHON:-python3}
CACHE=${CACHE:-$(mktemp -d)}
mkdir -p "$OUT"
export PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export TORCHINDUCTOR_CACHE_DIR=$CACHE/torch TORCHINDUCTOR_COMPILE_THREADS=8

part() { # PART[:OPTIONS], share of the device's memory; nothing for what it takes, as it takes it
    local name=${1%%:*} options=${1#"${1%%:*}"} began=$SECONDS errors=$OUT/errors-${1//[^a-z0-9]/-}.txt
    if [ -n "$2" ]; then
        export XLA_PYTHON_CLIENT_MEM_FRACTION=$2
    else
        export XLA_PYTHON_CLIENT_PREALLOCATE=false
    fi
    # shellcheck disable=SC2086
    timeout "$LIMIT" "$PYTHON" scripts/bench/gpu.py "$name" --out "$OUT" ${TOY:-} ${options//:/ } \
        >>"$OUT/log.txt" 2>"$errors" || {
        echo "$1: exit code $?"
        tail -n 4 "$errors" | cut -c1-500
    } | tee -a "$OUT/log.txt"
    [ -z "${TURNS:-}" ] || touch "$TURNS/ready-$1"
    echo "== $1: $((SECONDS - began)) s" | tee -a "$OUT/log.txt"
}

[ $# -gt 0 ] || set -- device step:--networks=alexnet depth big_study \
    step:--networks=squeezenet+step:--networks=googlenet step:--networks=vgg16 forms profile correct+small_study roofline stacking
for parts in "$@"; do
    case $parts in
    *+*)
        (
            TURNS=$(mktemp -d) TOGETHER=$(wc -w <<<"${parts//+/ }")
            export TURNS TOGETHER
            for one in ${parts//+/ }; do TURN=ready-$one part "$one" "" & done
            wait
        )
        ;;
    big_study*) (part "$parts" 0.9) ;;
    *) (part "$parts" 0.45) ;; # PyTorch runs beside it
    esac
done
rm -f "$OUT"/errors-*.txt
