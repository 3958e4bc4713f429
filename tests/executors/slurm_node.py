"""A Slurm of one node, this machine, with all that it writes in a temporary directory."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

_DAEMONS = ("munged", "slurmctld", "slurmd")
_CONF = """
ClusterName=medtune
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=15
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 Boards=1 SocketsPerBoard=4 CoresPerSocket=1 ThreadsPerCore=1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no Slurm can be started here; '' where it can."""
    absent = [name for name in (*_DAEMONS, "sbatch") if not _which(name)]
    if absent:
        return f"no {absent[0]}: install slurm-wlm and munge"
    if os.geteuid():
        return "only root can start slurmd"
    return "" if find_spec("submitit") else "no submitit: install the extra 'cluster'"


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """The variables with which sbatch and its kin find it."""
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o711)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    controller, node = _free_ports()
    conf.write_text(_CONF.format(host=host, folder=folder, controller=controller, node=node))
    variables = {"SLURM_CONF": str(conf)}
    munge = {
        n: f"--{n}={folder}/munge/{n[:-5]}"
        for n in ("key-file", "pid-file", "log-file", "seed-file")
    }
    commands = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *munge.values()],
        ["slurmctld", "-D", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf), "-N", host],
    ]
    with ExitStack() as daemons:
        for command in commands:
            daemons.enter_context(_daemon(command, variables))
            time.sleep(1)
        _until_idle(variables)
        yield variables


def slurm(variables: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


@contextmanager
def _daemon(command: list[str], variables: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        [_which(command[0]), *command[1:]],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _until_idle(variables: dict[str, str]) -> None:
    give_up = time.monotonic() + 60
    while slurm(variables, "sinfo", "-h", "-o", "%T") != "idle":
        assert time.monotonic() < give_up, slurm(variables, "scontrol", "show", "node")
        time.sleep(0.5)


def _which(name: str) -> str:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin") or ""


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
