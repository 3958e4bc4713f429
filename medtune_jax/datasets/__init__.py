"""Colonoscopy data: public sets, the user's own folders and videos, any prepared TFDS set.

`medtune_jax.datasets.store` (prepare, load, read_tfds_images) and `.builders` import TFDS; the
rest, exported here, does not.
"""

from medtune_jax.datasets.frames import FileFrames, Frame, FrameFile, Frames
from medtune_jax.datasets.sheet import contact_sheet, outlined

__all__ = ["FileFrames", "Frame", "FrameFile", "Frames", "contact_sheet", "outlined"]
