#!/usr/bin/env bash
# The studies of docs/findings.md and docs/networks.md on real images: each resumes where it stopped, several may run side by side.
#
#   bash scripts/findings.sh DATA OUT [STUDY ...]     STUDY: one of the names below, all when none is given
#
# DATA holds chest-xray/ (labels.csv), cvc-clinicdb/ (VIDEO/FRAME, VIDEO/masks/FRAME) and kvasir-seg/ (images, masks), and
# the releases of the networks that are not in the package: googlenet/bvlc_googlenet_main.caffemodel, vgg16/features.safetensors
# and mobilenet/mobilenet_v1_1.0_224_f16.npz. EfficientNet-Lite0 wants the extra lite0.
# SCALE: large (a GPU) or small (two CPU cores: 67 px, three seeds, one rate, 1,500 patches, all training data, depths alone).
# OPTIONS: more fields for every study, as --config.sweep.seeds=3. PYTHON: the interpreter.
set -eu
cd "$(dirname "$0")/.."
DATA=$1 OUT=$2
shift 2
SCALE=${SCALE:-large}
PYTHON=${PYTHON:-python3}
export PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH}

medtune() { "$PYTHON" -m medtune_jax.cli "$@"; }

converted() { # NETWORK RELEASE [OPTION ...]; the checkpoint's path, made once by whoever comes first
    local checkpoint=$OUT/weights/$1 network=$1 release=$2
    shift 2
    mkdir -p "$OUT/weights"
    (
        flock 9
        [ -e "$checkpoint" ] || medtune weights convert "$release" --output "$checkpoint" --network="$network" "$@" >&2
    ) 9>"$checkpoint.lock"
    echo "$checkpoint"
}

depths_of() { # ways are compared with the depth that they start from
    case $1 in
    squeezenet) echo conv10,fire9,fire7,fire5,fire3,conv1,lpft:fire5,scratch ;;
    googlenet) echo classifier,inception_5b,inception_4e,inception_4a,conv1,lpft:inception_4a,scratch ;;
    vgg16) echo fc6,conv5_1,conv4_1,conv1_1,scratch ;; # no fc6 and fc7 in the release: LP-FT has no head to begin with
    mobilenet_v1) echo fc,conv13,conv11,conv7,conv4,conv0,lpft:conv7,scratch ;;
    efficientnet_lite0) echo classifier,mbconv7_0,mbconv6_0,mbconv4_0,mbconv3_0,stem,lpft:mbconv4_0,scratch ;;
    esac
}

study() { # chest|cvc|kvasir-NETWORK
    local set=${1%-*} network=${1##*-} weights= size=115 depths
    depths=$(depths_of "$network")
    if [ "$SCALE" = small ]; then depths=${depths%,scratch} depths=${depths/,conv1_1/}; fi
    case $network in
    googlenet) weights=$(converted googlenet "$DATA/googlenet/bvlc_googlenet_main.caffemodel") ;;
    vgg16) weights=$(converted vgg16 "$DATA/vgg16/features.safetensors" --order=RGB --mean=123.68,116.779,103.939) size=0 ;;
    mobilenet_v1) weights=$(converted mobilenet_v1 "$DATA/mobilenet/mobilenet_v1_1.0_224_f16.npz") ;;
    esac
    local -a fields=("--config=configs/$([ "$set" = chest ] && echo image_folder || echo polyps).py" --config.network="$network" --config.weights="$weights"
        --config.image_size=$size --config.sweep.depths="$depths"
        --config.sweep.seeds=5 --config.sweep.fractions=1.0,0.25 --config.rates.search=3
        --config.training.epochs=20 --config.training.patience=4 --config.training.scratch.epochs=60
        --config.training.scratch.patience=10 --config.training.keep_weights=False)
    case $set in
    chest) fields+=(--config.data.dir="$DATA/chest-xray" --config.data.test_fraction=0.3) ;;
    cvc | kvasir) fields+=(--config.data.test_fraction=0.4 --config.training.batch=64
        --config.data.train_patches=3000 --config.data.test_variants=4 --config.data.detector_frames=200) ;;&
    cvc) fields+=(--config.data.dir="$DATA/cvc-clinicdb") ;;
    kvasir) fields+=(--config.data.dir="$DATA/kvasir-seg") ;;
    esac
    if [ "$SCALE" = small ]; then
        fields+=(--config.image_size=67 --config.sweep.seeds=3 --config.sweep.fractions=1.0 --config.rates.search=1)
        [ "$set" = chest ] || fields+=(--config.data.train_patches=1500)
    fi
    # shellcheck disable=SC2206
    fields+=(${OPTIONS:-})
    medtune sweep "${fields[@]}" --output="$OUT/$1"
    medtune probe "${fields[@]}" --output="$OUT/$1/probe"
    medtune report "$OUT/$1"
}

[ $# -gt 0 ] || set -- {chest,cvc,kvasir}-{squeezenet,googlenet,vgg16,mobilenet_v1,efficientnet_lite0}
for name in "$@"; do study "$name"; done
