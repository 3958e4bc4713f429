"""How long does `medtune status` take for a study of many runs? Of a made-up study, the whole command.

python scripts/bench/status.py --runs 10000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from medtune_jax.paths import json_with_sum
from medtune_jax.sharing.claims import Claims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10000)
    count = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder)
        runs = [{"run": f"run{n}", "depth": f"depth{n % 10}"} for n in range(count)]
        (study / "study.json").write_bytes(json_with_sum({"runs": runs}))
        for number, run in enumerate(runs[: count * 7 // 10]):
            place = study / "runs" / run["run"]
            place.mkdir(parents=True)
            status = {"status": "done"} if number % 7 else {"status": "failed", "reason": "error"}
            (place / "result.json").write_text(json.dumps(status))
            (place / "timing.json").write_text(json.dumps({"seconds": 10.0}))
        claims = [Claims(study / "claims").take(f"depth{n}-f1") for n in range(4)]
        began = time.perf_counter()
        command = [sys.executable, "-m", "medtune_jax.cli", "status", folder]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"{said}\n{time.perf_counter() - began:.2f} s, {len(claims)} jobs claimed")


if __name__ == "__main__":
    main()
