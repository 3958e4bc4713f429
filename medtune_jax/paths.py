"""Where a user's files lie that can be made again."""

import os
from pathlib import Path


def user_cache() -> Path:
    """$XDG_CACHE_HOME/medtune, or ~/.cache/medtune."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medtune"
