"""What the tests of networks share."""

import pytest

from medtune_jax.networks import forms


@pytest.fixture
def every_form(request, monkeypatch):
    """The forms of the backend that tests/networks/reference.py names, on this one."""
    chosen = forms.BY_BACKEND[request.param]
    for backend in forms.BY_BACKEND:
        monkeypatch.setitem(forms.BY_BACKEND, backend, chosen)
