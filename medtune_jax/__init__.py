"""medtune_jax: how deep should I fine-tune a pre-trained CNN on my medical images?"""

from medtune_jax import heap

__version__ = "0.1.0"

heap.share()  # here, since what the package imports starts threads
