#!/usr/bin/env bash
# The main job on the embedded default: ImageNet SqueezeNet, tuned at several depths and from scratch on generated
# colonoscopy frames (informative or not), two training-set sizes, three seeds. Ends with the path of the report.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" run
output=${1:-demo-study}
python -m medtune_jax.phantoms.colonoscopy "$output-frames"
medtune sweep --config=configs/demo.py --config.data.dir="$output-frames" --output="$output"
