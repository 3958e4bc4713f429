"""A page on this machine that shows what a run's networks say of a file: `medtune serve` (docs/serve.md)."""
