"""How launchers share a study on disk: who works at what, and how far all is. Nothing here needs JAX."""
