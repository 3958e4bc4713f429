#!/usr/bin/env bash
# A study on one machine with several GPUs: a worker on each, which goes on when you log out.
#
#     bash scripts/cluster/workstation.sh IMAGES STUDY
#     medtune status STUDY --watch
#     medtune cancel STUDY
set -euo pipefail

source .venv/bin/activate
mkdir -p "$2"
nohup \
  medtune sweep --config=configs/image_folder.py --config.data.dir="$1" --output="$2" \
    --config.device=gpu --executor=local --executor.workers=0 \
  > "$2/launcher.log" 2>&1 < /dev/null &
echo "started; $2/launcher.log says more"
