"""Applications: the table of those at hand, each imported when it is asked for."""

from difflib import get_close_matches
from importlib import import_module

from medtune_jax.applications.protocol import Application, Dataset, Option, Prediction
from medtune_jax.errors import UserError
from medtune_jax.words import Words

# name -> module:attribute. In the order in which they are asked what a folder holds: to image_folder, the last, any
# folder with folders of images is a data set.
APPLICATIONS = {
    name: f"medtune_jax.applications.{name}.task:{name.upper()}"
    for name in ("embolism", "intima_media", "polyps", "frame_quality", "image_folder")
}


def get(name: str) -> Application:
    """The named application; UserError with the nearest name if there is none."""
    if name not in APPLICATIONS:
        near = get_close_matches(name, APPLICATIONS, 1, 0)[0]
        known = ", ".join(sorted(APPLICATIONS))
        raise UserError(
            f"unknown application '{name}'; did you mean '{near}'? (applications: {known})"
        )
    module, attribute = APPLICATIONS[name].split(":")
    application: Application = getattr(import_module(module), attribute)
    return application


__all__ = ["APPLICATIONS", "Application", "Dataset", "Option", "Prediction", "Words", "get"]
