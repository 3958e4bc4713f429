"""Applications, and the table of those at hand."""

from difflib import get_close_matches

from medtune_jax.applications.embolism.task import EMBOLISM
from medtune_jax.applications.frame_quality import FRAME_QUALITY
from medtune_jax.applications.image_folder import IMAGE_FOLDER
from medtune_jax.applications.intima_media import INTIMA_MEDIA
from medtune_jax.applications.polyps.task import POLYPS
from medtune_jax.applications.protocol import Application, Dataset, Words
from medtune_jax.errors import UserError

APPLICATIONS: dict[str, Application] = {
    app.name: app for app in (EMBOLISM, FRAME_QUALITY, IMAGE_FOLDER, INTIMA_MEDIA, POLYPS)
}


def get(name: str) -> Application:
    """The named application; UserError with the nearest name if there is none."""
    if name in APPLICATIONS:
        return APPLICATIONS[name]
    near = get_close_matches(name, APPLICATIONS, 1, 0)[0]
    raise UserError(
        f"unknown application '{name}'; did you mean '{near}'? (applications: {', '.join(APPLICATIONS)})"
    )


__all__ = ["APPLICATIONS", "Application", "Dataset", "Words", "get"]
