"""Who of the patients is held out."""

from types import SimpleNamespace

import numpy as np
import pytest

from medtune_jax.applications.embolism.task import held_out


@pytest.mark.parametrize("seed", range(4))
def test_patients_with_one_volume_are_on_one_side(capsys, seed):
    draw = np.random.default_rng(0)
    patients = {
        name: SimpleNamespace(
            labels=np.array([1]), hits=np.array([[True]]), blocks=draw.integers(0, 99, (1, 4, 4, 4))
        )
        for name in "abcdef"
    }
    patients["f"].blocks = patients["a"].blocks
    test = held_out(patients, 0.5, seed)
    assert ("a" in test) == ("f" in test) and 0 < len(test) < 6
    assert "2 patients have volumes of the same pixels" in capsys.readouterr().err
