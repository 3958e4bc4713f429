"""Feed mutated weight files to every reader.

    python scripts/fuzz_readers.py --count 200000 [--seed 0] [--workers 2]

Each input must be read or refused with one sentence, within 5 seconds and 1 GiB. Exits with 1
on any defect.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.weights import fuzz


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    began = time.monotonic()
    counts, defects, memory = fuzz.run(arguments.count, arguments.seed, arguments.workers)
    for name in sorted(counts):
        print(f"{name:<24}{counts[name]:>8}")
    print("\n".join(defects[:20]))
    seconds = time.monotonic() - began
    print(
        f"{sum(counts.values())} inputs in {seconds:.0f} s, {len(defects)} defects, "
        f"memory grew by at most {memory / 2**20:.0f} MiB"
    )
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
