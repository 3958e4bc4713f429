"""`medtune cancel`: whoever works at a study, or waits in a queue to, ends."""

from __future__ import annotations

import shutil
from pathlib import Path

from medtune_jax.executors import slurm
from medtune_jax.executors.submission import submissions
from medtune_jax.sharing.cancel import cancel
from medtune_jax.sharing.status import status


def cancel_study(study: str | Path) -> str:
    """End all launchers and workers of a study with their state saved; says what was done, and what did not end.

    UserError where there is no study, or where the disk refuses.
    """
    directory = Path(study)
    found = status(directory)
    numbers = [
        number
        for each in submissions(directory)
        if each.executor == "slurm"
        for number in each.workers
    ]
    trouble: list[str] = []

    def engines() -> None:
        if numbers and shutil.which("scancel"):
            trouble.extend(slurm.end(directory, numbers))
        elif numbers:
            trouble.append("no scancel here: jobs that wait in Slurm's queue end when they begin")

    held = cancel(directory, engines)
    lines = [
        f"{directory}: cancelled; {len(found.leases) - len(held)} workers ended, with their state saved"
    ]
    lines += [f"  still there: {lease.job} on {lease.place}" for lease in held]
    lines += [f"  {line}" for line in trouble]
    lines.append("  run its `medtune sweep` again to go on")
    return "\n".join(lines)
