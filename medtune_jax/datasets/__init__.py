"""Medical images from files: public sets, the user's own folders, any prepared TFDS set.

Colonoscopy frames and videos are exported here; `.volumes` reads CT, `.carotid` ultrasound.
`.store` (prepare, load, read_tfds_images) and the builders (`.builders`, `.ct_builders`, `.cubs`)
import TFDS; the rest does not.
"""

from medtune_jax.datasets.frames import FileFrames, Frame, FrameFile, Frames
from medtune_jax.datasets.sheet import contact_sheet, outlined

__all__ = ["FileFrames", "Frame", "FrameFile", "Frames", "contact_sheet", "outlined"]
