"""Whether a run was given enough epochs."""

_LAST = 2  # a later best than that leaves no room to see that nothing better comes


def still_improving(best_epoch: int, epochs: int) -> bool:
    """Whether the best epoch is among the last two of a run, so that more might have been better. Both from 1."""
    return best_epoch > epochs - _LAST
