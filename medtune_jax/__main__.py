"""The console command, and `python -m medtune_jax`."""

import signal

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


def main() -> None:
    """Run `medtune_jax.cli.main`; a signal that comes while that is imported waits until it listens."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    from medtune_jax import cli

    cli.main()


if __name__ == "__main__":
    main()
