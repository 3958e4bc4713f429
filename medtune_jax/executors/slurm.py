"""Workers as a Slurm job array, by submitit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from medtune_jax.errors import UserError
from medtune_jax.executors.field import option
from medtune_jax.executors.submission import Submission
from medtune_jax.executors.worker import work
from medtune_jax.signals import AGAIN

_MOST = 256  # workers, where their number is not given; Slurm's own limit of an array is 1,001 by default
# A worker that saved its state on a warning asks to go on. Not one that scancel ended: its job is no longer running.
# SLURM_JOB_ID of one of the elements is the number of the whole array.
_REQUEUE = f"""code=$?
job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
job=${{job:-$SLURM_JOB_ID}}
if [ $code -eq {AGAIN} ] && [ "$(squeue -h -j $job -o %T)" = RUNNING ]; then
  scontrol requeue $job
fi
exit $code"""


@dataclass(frozen=True)
class Slurm:
    """a job array, submitted by submitit; what is left empty is Slurm's own default"""

    workers: int = option(0, "elements of the array; 0: one for each job, at most 256", least=0)
    partition: str = option("", "as in sbatch --partition")
    account: str = option("", "as in sbatch --account")
    qos: str = option("", "as in sbatch --qos")
    gres: str = option("", "as in sbatch --gres: gpu:1")
    constraint: str = option("", "as in sbatch --constraint")
    cpus: int = option(0, "cores of a worker (--cpus-per-task)", least=0)
    memory: str = option("", "of a worker, as in sbatch --mem: 16G")
    time: str = option("1:00:00", "limit of a worker, as in sbatch --time; see requeue")
    warning: int = option(90, "seconds before the limit at which a worker saves its state", least=1)
    requeue: bool = option(True, "start a worker again after its limit, preemption or a lost node")

    name: ClassVar[str] = "slurm"

    @property
    def in_process(self) -> bool:
        return False

    def count(self, jobs: int) -> int:
        return min(jobs, self.workers or _MOST)

    def start(self, submission: Submission, workers: int) -> Array:
        submitit = _submitit()
        executor = submitit.SlurmExecutor(folder=submission.folder)
        executor.update_parameters(**self._parameters(submission))
        try:
            jobs = executor.map_array(work, [str(submission.folder)] * workers)
        except submitit.core.utils.FailedJobError as error:
            raise UserError(f"Slurm refused the jobs: {_reason(error)}") from error
        number = jobs[0].job_id.partition("_")[0]
        submission.started([job.job_id for job in jobs])
        return Array(number, str(submission.study))

    def rejoin(self, submission: Submission) -> Array | None:
        if not submission.workers:
            return None
        return Array(submission.workers[0].partition("_")[0], str(submission.study))

    @property
    def accelerated(self) -> bool:
        return "gpu" in self.gres

    def _parameters(self, submission: Submission) -> dict[str, Any]:
        given = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "gres": self.gres,
            "constraint": self.constraint,
            "cpus-per-task": self.cpus,
            "mem": self.memory,
            "time": self.time,
            "requeue" if self.requeue else "no-requeue": True,
        }
        return {
            "job_name": _name(submission.study),
            "signal_delay_s": self.warning,
            "stderr_to_stdout": True,
            "additional_parameters": {key: value for key, value in given.items() if value},
            "teardown": [_REQUEUE] if self.requeue else [],
        }


@dataclass(frozen=True)
class Array:
    """The workers of one array. number: Slurm's, of the whole array."""

    number: str
    study: str

    def alive(self) -> int:
        command = ["squeue", "--noheader", "--array", f"--jobs={self.number}", "--format=%T"]
        listed = _run(command)
        if listed.returncode and "Invalid job id" not in listed.stderr:
            return 1  # the controller does not answer: it may again
        return len(listed.stdout.split())

    def stop(self) -> str:
        return (
            f"Slurm's job {self.number} goes on without this launcher: medtune status {self.study} looks, "
            f"medtune cancel {self.study} ends it, medtune report {self.study} writes the report"
        )

    def close(self) -> None:
        _run(["scancel", "--state=PENDING", self.number])


def end(study: Path, workers: Sequence[str]) -> list[str]:
    """Take workers, by Slurm's numbers, out of the queue and ask those that run to stop; says what went wrong."""
    arrays = sorted({worker.partition("_")[0] for worker in workers})
    # By their name too: in the course of years Slurm gives a number again.
    said = _run(["scancel", f"--name={_name(study)}", *arrays]).stderr.splitlines()
    return [line for line in said if "Invalid job id" not in line]


def _name(study: Path) -> str:
    return re.sub(r"[^\w.-]", "_", f"medtune-{study.resolve().name}")


def _submitit() -> Any:
    # The warning before the time limit; it is read when submitit is imported.
    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            "--executor=slurm needs submitit: pip install 'medtune-jax[cluster]'"
        ) from error
    if not shutil.which("sbatch"):
        raise UserError("this machine has no sbatch: use --executor=slurm where jobs are submitted")
    return submitit


def _reason(error: Exception) -> str:
    """What sbatch said, which submitit puts last."""
    return str(error).strip().splitlines()[-1].removeprefix("sbatch: ").removeprefix("error: ")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]}: {error}")
