"""A study's config: the fields that all applications share, and the applications' own under `data`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from medtune_jax import applications
from medtune_jax.errors import UserError


def default_config(application: str = "image_folder") -> ConfigDict:
    """All fields of an application's study, with their defaults; UserError for an unknown application.

    To set a field that is not there is an AttributeError that names the nearest. Lists are comma-separated text, so
    that they can be given on the command line: --config.sweep.fractions=1.0,0.25
    """
    config = shared_fields()
    config.application = application
    known = applications.get(application)
    config.data.update(known.defaults)
    config.augment.depths = "pixels" if known.augments else "none"
    return config.lock()


def shared_fields() -> ConfigDict:
    """The fields that all applications share."""
    return ConfigDict(
        {
            "application": "image_folder",
            "network": "squeezenet",
            "weights": "",  # a checkpoint directory; empty: the weights that come with the package
            "device": "auto",  # auto, cpu, gpu or tpu: another one is never taken in silence
            "metric": "",  # auc, auprc; empty: the application's own
            "threshold": "youden",  # chosen on validation: youden, sensitivity=0.95, specificity=0.9; trains nothing
            "image_size": 0,  # side of the network's input in pixels; 0: the network's own
            "data": {
                "dir": "",
                "test_fraction": 0.2,  # of the patients, where the data do not fix the test set
                "split_seed": 0,
            },
            "sweep": {
                "depths": "all",  # first tuned stages, scratch[-gaussian|-xavier|-msra], ways (docs/tuning.md)
                "fractions": "1.0",  # of the training patients
                "seeds": 3,
            },
            "training": {
                "batch": 32,
                "epochs": 30,
                "patience": 6,  # epochs without a better validation AUC before a run stops
                "scratch": {  # the same of training from scratch, which takes longer; 0: as the others
                    "epochs": 0,
                    "patience": 0,
                },
                "valid_fraction": 0.2,  # of the training patients (docs/paper.md, "Stopping")
                "balance": "downsample",  # rare classes: downsample the others, weights in the loss, or none
                "norm": "stored",  # statistics of batch norms in tuned stages: stored or batch (docs/networks.md)
                "stochastic_depth": True,  # of tuned stages, where the network has it (docs/networks.md)
                "rate_decay": 0.95,  # per epoch
                "auxiliary": True,  # GoogLeNet's side heads when training from scratch
                "keep_weights": True,  # write each run's trained network beside its result
                "keep": "recommended",  # of them when all is done, beside the recommended: depths and runs, or all
                "dtype": "auto",  # of activations: float32, bfloat16, or auto: bfloat16 on an accelerator
            },
            "answer": {  # what is too small to matter; changes no run
                "validation_margin": 0.01,  # of the metric: depths so close to the best are tied, the cheaper wins
                "margin": 0.0,  # of the answer's figure (AUC, FROC sensitivity, micrometres); 0: the figure's own
            },
            "augment": {  # of training patches, never of validation or test (docs/augmentation.md)
                "depths": "none",  # pixels: those that tune the first stage, each patch anew in every epoch; or none
                "copies": 1,  # fixed views of each patch for the other depths; 1: the patch as it is
                "flip": "none",  # horizontal, vertical or both, where left and right are alike
                "rotation": 10.0,  # degrees either way
                "scale": 0.1,  # from 1/1.1 to 1.1
                "shift": 0.05,  # of a side, either way
                "brightness": 0.1,  # of white, either way
                "contrast": 0.1,  # from 1/1.1 to 1.1
            },
            "optimizer": {
                "name": "caffe_sgd",  # caffe_sgd (docs/paper.md), sgd or adamw; each reads its own fields of these
                "momentum": 0.9,  # caffe_sgd, sgd
                "b1": 0.9,  # adamw
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.0,  # of kernels
                "l2_sp": 0.0,  # pull of tuned stages to their pre-trained parameters (docs/tuning.md); 0: none
            },
            "memory": {  # GiB; changes no result
                "images_gib": 0.25,  # decoded images in the host's memory; more are decoded to disk and streamed
                "disk_images_gib": 64.0,  # for those
                "patches_gib": 0.0,  # on the device, more are streamed; 0: a third of an accelerator's
                "device_gib": 0.0,  # features of frozen stages; 0: a third of an accelerator's, 0.5 on a CPU
                "host_gib": 16.0,  # features that the device has no room for (not used on a CPU)
                "disk_gib": 16.0,  # features for which there is no other room
                "disk_dir": "",  # for both; empty: features and images in ~/.cache/medtune
            },
            "rates": {  # 0: the network's own (`medtune networks`)
                "tuned": 0.0,
                "head": 0.0,
                "scratch": 0.0,
                "stage_decay": 1.0,  # factor for every stage further from the head
                "search": 1,  # rates that each run tries, 3 times apart; validation data choose (docs/rates.md)
            },
        }
    )


MEANINGS = {
    "augment.depths": "pixels: training images of depths that tune the first stage are augmented; none: none are",
    "augment.copies": "fixed augmented views of each image for the other depths; 1: the image as it is",
    "training.balance": "rare classes: downsample the others, weights in the loss, or none",
    "training.norm": "batch norms of tuned stages in training: stored statistics, or those of each batch",
    "training.stochastic_depth": "whether blocks of tuned stages are passed by at random, where the network does that",
    "training.keep": "weights that stay when all runs are done, beside the recommended: depths, runs, or all",
    "optimizer.l2_sp": "L2-SP: how strongly tuned stages are pulled to their pre-trained parameters; 0: not at all",
    "rates.search": "rates that every run tries, 3 times apart, the best on validation data kept; 1: no search",
    "training.scratch.epochs": "most epochs from scratch; 0: training.epochs",
    "training.scratch.patience": "patience from scratch; 0: training.patience",
}
"""What `medtune sweep --help` says beside fields whose name does not say it."""


def choose_preset(
    name: str, preset: str, config: ConfigDict, presets: Mapping[str, Callable[[ConfigDict], None]]
) -> None:
    """Apply what follows the colon of --config=configs/NAME.py:PRESET, where anything does.

    presets: what each changes in the config. UserError for a preset that is not among them.
    """
    if not preset:
        return
    if preset not in presets:
        known = ", ".join(f":{known}" for known in presets)
        raise UserError(f"configs/{name}.py has no preset '{preset}': use {known} or none")
    presets[preset](config)


def cpu_sized(config: ConfigDict, epochs: int, patience: int) -> None:
    """What all studies for two CPU cores share: SqueezeNet, whose weights come along, on small patches."""
    config.network = "squeezenet"
    config.image_size = 67
    config.sweep.depths = "conv10,fire8,fire5,conv1,scratch"
    config.sweep.seeds = 2
    config.training.batch = 32
    config.training.epochs = epochs
    config.training.patience = patience
