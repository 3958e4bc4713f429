"""The table of applications: complete, imported when asked for, and light."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from medtune_jax import applications
from medtune_jax.errors import UserError
from medtune_jax.study import default_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_FORBIDDEN = {"av", "SimpleITK", "nibabel", "tensorflow_datasets", "grain", "pydicom", "matplotlib"}


@pytest.mark.parametrize("name", applications.APPLICATIONS)
def test_an_application_has_what_its_config_and_the_page_need(name):
    application = applications.get(name)
    assert application.name == name
    config = default_config(name)
    assert config.application == name and set(application.defaults) <= set(config.data)
    study = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]()
    fields = [dict.fromkeys(c.to_dict()["data"]) for c in (config, study)]
    assert fields[0] == fields[1]  # a config file sets fields, it adds none
    assert all(callable(maker) for maker in application.sections())


def test_an_unknown_application_names_the_nearest():
    with pytest.raises(UserError, match="unknown application 'polps'; did you mean 'polyps'"):
        default_config("polps")


def test_a_field_that_is_not_there_cannot_be_set():
    with pytest.raises(AttributeError, match='Did you mean "epochs"'):
        default_config().training.epoch = 3


def run(code, *arguments):
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def test_an_image_study_needs_no_library_of_the_other_applications(tmp_path, write_images):
    code = """
import sys
from medtune_jax import applications, study
config = study.default_config()
config.data.dir = sys.argv[1]
dataset = applications.get(config.application).load(config, 32)
assert len(dataset.labels) == 16
loaded = set(sys.modules) & set(sys.argv[2].split(","))
assert not loaded, loaded
"""
    run(code, write_images(tmp_path, 8, 2, 32), ",".join(_FORBIDDEN))


def test_help_imports_no_numerical_library():
    code = """
import sys
from medtune_jax import cli
assert cli.run(["--help"]) == 0
loaded = set(sys.modules) & {"jax", "numpy", "flax", "PIL", "scipy"}
assert not loaded, loaded
"""
    run(code)
