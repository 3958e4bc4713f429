"""Synthetic colonoscopy: seeded videos of a folded colon, polyps with masks, bad frames."""

from medtune_jax.phantoms.colonoscopy.layouts import write_image_folder, write_videos
from medtune_jax.phantoms.colonoscopy.video import Frame, video

__all__ = ["Frame", "video", "write_image_folder", "write_videos"]
