"""medtune_jax: how deep should I fine-tune a pre-trained CNN on my medical images?"""

__version__ = "0.1.0"
