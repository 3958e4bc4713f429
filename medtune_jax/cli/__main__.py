"""`python -m medtune_jax.cli`."""

from medtune_jax.cli import main

main()
