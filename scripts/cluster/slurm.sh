#!/usr/bin/env bash
# A study as a Slurm job array without submitit: eight launchers that share the work. Where the login node may run
# Python, `medtune sweep --executor=slurm` writes and submits such a file itself (docs/cluster.md).
#
#     sbatch scripts/cluster/slurm.sh IMAGES STUDY        # both on a disk that all nodes see
#SBATCH --job-name=medtune
#SBATCH --array=0-7
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=4:00:00
#SBATCH --signal=USR1@90
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.log
set -uo pipefail

source .venv/bin/activate
srun medtune sweep --config=configs/image_folder.py --config.data.dir="$1" --output="$2" \
  --config.device=gpu --config.memory.disk_dir="$2/features"
code=$?

# 75: a signal came, the state is saved. Not after scancel, when the job no longer counts as running.
job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
if [ "$code" -eq 75 ] && [ "$(squeue -h -j "$job" -o %T)" = RUNNING ]; then
  scontrol requeue "$job"
fi
exit "$code"
