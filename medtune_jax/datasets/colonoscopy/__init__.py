"""Colonoscopy frames and videos: the user's own folders and the public sets as downloaded."""

from medtune_jax.datasets.colonoscopy.files import FileFrames, FrameFile, on_ground

__all__ = ["FileFrames", "FrameFile", "on_ground"]
