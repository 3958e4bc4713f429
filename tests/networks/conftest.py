"""What the tests of networks share."""

import pytest

from medtune_jax.networks import forms


@pytest.fixture(params=["cpu", "accelerator"])
def every_form(request, monkeypatch):
    """The forms of either kind of backend, on this one."""
    chosen = forms.CPU if request.param == "cpu" else forms.ACCELERATOR
    for backend in forms.BY_BACKEND:
        monkeypatch.setitem(forms.BY_BACKEND, backend, chosen)
