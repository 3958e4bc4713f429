"""python -m medtune_jax.phantoms.colonoscopy DIR: an image folder of generated frames, for the demo."""

import sys

from medtune_jax.phantoms.colonoscopy import write_image_folder

if __name__ == "__main__":
    # Many short videos: an interval is over videos, and takes several of each class.
    print(f"frames: {write_image_folder(sys.argv[1], videos=48, frames=5)}")
