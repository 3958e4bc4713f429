"""Which of several processes this one is, by what started it."""

import pytest

from medtune_jax.errors import UserError
from medtune_jax.training.devices import hosts
from medtune_jax.training.devices.hosts import Place

JAX = {"JAX_COORDINATOR_ADDRESS": "node1:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
SLURM = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
ORTE = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911"}
ADDRESS = {"JAX_COORDINATOR_ADDRESS": "node1:1234"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (JAX, Place("node1:1234", 2, 1)),
        ({**JAX, "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
        (SLURM, Place(None, 4, 3)),
        ({**SLURM, **ADDRESS}, Place("node1:1234", 4, 3)),
        ({**SLURM, **JAX}, Place("node1:1234", 2, 1)),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
        # A batch script outside srun is one process.
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),
        ({**OPEN_MPI, **ORTE}, Place(None, 2, 0)),
        ({**OPEN_MPI, **ADDRESS}, Place("node1:1234", 2, 0)),
    ],
)
def test_the_place_of_a_process(environment, expected):
    assert Place.of(environment) == expected


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (ADDRESS, "not which process this is: set JAX_NUM_PROCESSES and JAX_PROCESS_ID"),
        ({**JAX, "JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID is 2 of JAX_NUM_PROCESSES=2"),
        ({**JAX, "JAX_PROCESS_ID": "b"}, "JAX_PROCESS_ID is 'b': give a whole number"),
        (OPEN_MPI, "nothing says where process 0 listens: set JAX_COORDINATOR_ADDRESS=HOST:PORT"),
    ],
)
def test_an_environment_that_says_too_little(environment, sentence):
    with pytest.raises(UserError, match=sentence):
        Place.of(environment)


def test_a_process_of_its_own_agrees_with_itself():
    assert not hosts.several() and hosts.first()
    assert hosts.everyones("here") == ["here"] and hosts.same("here")
    assert hosts.of_first(["value"]) == ["value"] and hosts.least(3) == 3
    hosts.meet("nobody else is there")
    hosts.check()
