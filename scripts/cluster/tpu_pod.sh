#!/usr/bin/env bash
# A study on a Cloud TPU slice of several hosts: on each host a worker a chip, all on one study. No run spans hosts.
# Images and study lie on a file system that all hosts mount (Filestore), medtune in ~/medtune_jax/.venv of each.
#
#     TPU=my-slice ZONE=us-central2-b bash scripts/cluster/tpu_pod.sh /mnt/IMAGES /mnt/STUDY
#     medtune cancel /mnt/STUDY       # on any of the hosts: ends the workers of all
set -euo pipefail
: "${TPU:?name of the slice}" "${ZONE:?its zone}"

remote=$(
  cat << EOF
cd medtune_jax && source .venv/bin/activate &&
medtune sweep --config=configs/image_folder.py --config.data.dir=$(printf %q "$1") --output=$(printf %q "$2") \
  --config.device=tpu --executor=local --executor.workers=0
EOF
)
gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$remote"
