"""Readers of other programs' weight files; each returns `Layer` records in the source's layout."""
