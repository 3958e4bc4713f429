"""--executor and its fields, as text."""

import pytest

from medtune_jax import cli
from medtune_jax.errors import UserError
from medtune_jax.executors.options import chosen
from medtune_jax.executors.slurm import Slurm


def test_values_have_the_kinds_of_their_fields():
    given = chosen("slurm", {"partition": "gpu", "cpus": "4", "requeue": "false"})
    assert given == Slurm(partition="gpu", cpus=4, requeue=False)
    assert chosen("", {}).in_process and not chosen("local", {"workers": "2"}).in_process
    assert chosen("ray", {"num_gpus": "0.5"}).num_gpus == 0.5


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("slrm", {}, "there is no executor 'slrm'; did you mean slurm?"),
        ("Local", {}, "did you mean local?"),
        ("local", {"workers": ""}, "--executor.workers is '': give a whole number"),
        ("slurm", {"partiton": "x"}, "did you mean --executor.partition?"),
        ("local", {"partition": "x"}, "there is no --executor.partition with --executor=local"),
        ("slurm", {"cpus": "many"}, "--executor.cpus is 'many': give a whole number"),
        ("slurm", {"cpus": "-1"}, "give 0 or more"),
        ("slurm", {"requeue": "perhaps"}, "give true or false"),
        ("ray", {"num_gpus": "nan"}, "give 0 or more"),
        ("ray", {"num_cpus": "inf"}, "give 0 or more"),
    ],
)
def test_what_does_not_fit_is_one_sentence(name, options, said):
    with pytest.raises(UserError) as error:
        chosen(name, options)
    assert said in str(error.value)


def test_an_unknown_flag_suggests_the_nearest(capsys):
    words = ["sweep", "--config=configs/image_folder.py", "--output=x", "--executor.partiton=gpu"]
    assert cli.run(words) == 2
    assert "did you mean --executor.partition?" in capsys.readouterr().err


def test_help_lists_every_option(capsys):
    assert cli.run(["sweep", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--executor.partition: slurm: as in sbatch --partition" in text
    assert "--executor.num_gpus: ray: GPUs of a worker" in text
