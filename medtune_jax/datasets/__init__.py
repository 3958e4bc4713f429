"""Medical images from files: public sets, the user's own folders, any prepared TFDS set.

`.colonoscopy` reads frames and videos, `.ct` volumes, `.carotid` ultrasound. What they share is here: the frame that a
picture comes as, contact sheets, and public sets prepared by TFDS (`.store` names, prepares and reads them).
`.store` and the builders import TFDS, which takes seconds; the rest does not.
"""

from medtune_jax.datasets.frames import Frame, Frames
from medtune_jax.datasets.sheet import contact_sheet, outlined

__all__ = ["Frame", "Frames", "contact_sheet", "outlined"]
