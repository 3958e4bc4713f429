"""Workers for a study's jobs: processes of this machine, a Slurm array, Ray tasks. They claim jobs as launchers do."""
