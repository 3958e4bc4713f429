"""python -m medtune_jax.phantoms.colonoscopy DIR: an image folder of generated frames, for the demo."""

import sys

from medtune_jax.phantoms.colonoscopy import write_image_folder

if __name__ == "__main__":
    print(f"frames: {write_image_folder(sys.argv[1])}")
