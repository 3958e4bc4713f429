"""The job files of scripts/cluster: their syntax, and that every medtune command in them could be typed."""

import re
import shutil
import subprocess

import pytest
import yaml

from tests.docs.commands import ROOT, check, commands

FOLDER = ROOT / "scripts" / "cluster"
SHELL = sorted(FOLDER.glob("*.sh"))
COMMAND = re.compile(r"medtune sweep(?:[^\n\\]|\\\n)*")


def sweeps(text):
    """The words of each `medtune sweep`, up to what the shell does with it."""
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [re.split(r" \\?\s*[>&]", found)[0] for found in COMMAND.findall(code)]


def test_each_kind_of_cluster_has_one():
    assert {path.stem for path in SHELL} == {"slurm", "tpu_pod", "workstation"}


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell(path):
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    if linter := shutil.which("shellcheck"):
        assert subprocess.run([linter, "--exclude=SC1091", path]).returncode == 0
    found = sweeps(path.read_text())
    assert len(found) == 1
    check(commands(re.sub(r"\$\([^)]*\)", "X", found[0]))[0])


def test_ray_on_kubernetes():
    job = yaml.safe_load((FOLDER / "ray_on_kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = job["spec"]["entrypoint"].replace("/app/", "").split()
    check(words)
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for spec in (pod["template"]["spec"] for pod in pods):
        volumes = {volume["name"] for volume in spec["volumes"]}
        (container,) = spec["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        paths = {mount["mountPath"] for mount in container["volumeMounts"]}
        given = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
        assert given["config.data.dir"] in paths
        assert any(given["output"].startswith(f"{path}/") for path in paths)
    limits = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"][
        "limits"
    ]
    assert float(given["executor.num_gpus"]) <= float(limits["nvidia.com/gpu"])
    assert float(given["executor.num_cpus"]) <= float(limits["cpu"])
