"""Every stage, all gradients and the averages of batch norms against torchvision's and timm's networks, random weights.

A state dict of theirs goes through a file and our reader. Skipped where PyTorch, torchvision or timm are absent
(`pip install -e .[parity]`).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax import tuning
from medtune_jax.networks.norms import has_statistics
from medtune_jax.tuning import Optimizer, StageRates
from medtune_jax.weights.convert import convert
from medtune_jax.weights.formats import torch as reader

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
timm = pytest.importorskip("timm", reason="timm is not installed")

ROWS, CLASSES, SIDE = 3, 5, 64
ELSEWHERE = ("conv0", "conv1", "denseblock4", "block11")  # end behind another of their modules
CASES = {
    "resnet18": ("torchvision resnet18", SIDE),
    "resnet50": ("timm resnet50", SIDE),
    "densenet121": ("torchvision densenet121", SIDE),
    "efficientnet_b0": ("torchvision efficientnet_b0", SIDE),
    "convnext_tiny": ("torchvision convnext_tiny", SIDE),
    "vit_small_patch16": ("timm vit_small_patch16_224", SIDE),
    "vit_small_patch14_dinov2": ("timm vit_small_patch14_dinov2", 70),
}


def theirs(name):
    """The network with weights of sensible size, and statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    library, maker = CASES[name][0].split()
    if library == "torchvision":
        net = getattr(torchvision.models, maker)(weights=None, num_classes=CLASSES)
    else:
        sized = {"dynamic_img_size": True} if maker.startswith("vit") else {}
        net = timm.create_model(maker, num_classes=CLASSES, **sized)
    for module in net.modules():
        if hasattr(module, "running_mean"):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.7, 1.4)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
            module.momentum = 0.1
        if hasattr(module, "layer_scale"):
            torch.nn.init.uniform_(module.layer_scale, 0.2, 0.5)
        if isinstance(module, timm.layers.LayerScale):
            torch.nn.init.uniform_(module.gamma, 0.2, 0.5)
        if isinstance(module, (torch.nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    return net.eval()


def converted(net, name, folder):
    """(our network, its parameters from their state dict by our reader)."""
    torch.save(net.state_dict(), folder / "net.pth")
    conversion = convert(reader.read(folder / "net.pth"), name)
    assert not conversion.names("new") and not conversion.names("left out")
    return conversion.network, conversion.params


def images(side, steps=1):
    rng = np.random.default_rng(0)
    return rng.normal(size=(steps, ROWS, side, side, 3)).astype(np.float32)


def to_torch(x):
    return torch.tensor(np.moveaxis(x, -1, 1))


def near(ours, expected):
    ours, expected = np.asarray(ours), expected.detach().numpy()
    if expected.ndim == 4:
        expected = np.moveaxis(expected, 1, -1)
    assert ours.shape == expected.shape
    limit = 1e-4 * max(np.linalg.norm(expected), 1e-3)
    assert np.linalg.norm(ours - expected) < limit


@pytest.fixture(params=CASES)
def pair(request, tmp_path):
    net = theirs(request.param)
    return net, *converted(net, request.param, tmp_path), CASES[request.param][1]


def _places(stage):
    """Where a stage may end in theirs."""
    yield stage.replace("_", ".")
    yield f"features.{stage}"
    yield stage.replace("block", "blocks.")
    if stage.startswith("stage"):
        layer, n = map(int, stage.removeprefix("stage").split("_"))
        yield f"features.{2 * layer - 1}.{n}"
    yield stage.replace("mbconv", "features.").replace("_", ".")


def watched(net, network):
    """The outputs of their modules that end our stages, by stage, filled when the network runs."""
    outputs = {}
    known = dict(net.named_modules())
    for stage in network.names:
        module = next((known[name] for name in _places(stage) if name in known), None)
        if module is not None:
            module.register_forward_hook(lambda *a, stage=stage: outputs.update({stage: a[2]}))
    return outputs


def test_every_stage(pair):
    net, network, params, side = pair
    outputs, taps, [x] = watched(net, network), {}, images(side)
    with torch.no_grad():
        scores = net(to_torch(x))
    near(network.apply(params, jnp.asarray(x), taps=taps), scores)
    compared = [s for s in outputs if taps[s].ndim == outputs[s].ndim and s not in ELSEWHERE]
    assert len(compared) > 0.6 * len(network.names)
    for stage in compared:
        near(taps[stage], outputs[stage])


def gradients(network, params, x, labels, counts=None):
    def cost(params):
        [(_, scores)] = network.training_outputs(params, x, None, None, network.names, counts)
        return -jax.nn.log_softmax(scores)[np.arange(ROWS), labels].mean()

    return jax.jit(jax.grad(cost))(params)


@pytest.mark.parametrize("training", [False, True])
def test_gradients(pair, training, tmp_path):
    """In float64: in float32 some ReLU of so many passes in one of the two and not in the other."""
    net, network, params, side = pair
    if training and not any(map(has_statistics, params.values())):
        pytest.skip("no batch norm")
    [x], labels = images(side).astype(float), np.arange(ROWS)
    net.double().train(training)
    torch.nn.functional.cross_entropy(net(to_torch(x)), torch.tensor(labels)).backward()
    for parameter in net.parameters():
        parameter.data = parameter.grad
    theirs = converted(net, network.name, tmp_path)[1]
    counts = jnp.ones(ROWS) if training else None
    with jax.enable_x64():
        wide = jax.tree.map(lambda leaf: leaf.astype(float), params)
        ours = gradients(network, wide, jnp.asarray(x), labels, counts)
    for stage in network.names:
        for (path, own), (_, other) in zip(
            *map(jax.tree_util.tree_leaves_with_path, (ours[stage], theirs[stage])), strict=True
        ):
            if path[-1].key not in ("mean", "variance"):
                assert np.linalg.norm(own - other) < 1e-4 * max(np.linalg.norm(other), 1e-2), path


def test_averages_after_three_steps(pair):
    """And padding rows, which theirs never sees."""
    net, network, params, side = pair
    if not any(map(has_statistics, params.values())):
        pytest.skip("no batch norm")
    net.train()
    kind, rates = Optimizer("sgd", momentum=0.0), dict.fromkeys(network.names, StageRates(0.0, 0.0))
    states = tuning.initial_states(kind, params)
    update = jax.jit(lambda *state: tuning.update(kind, *state))
    counts = jnp.array([1.0] * ROWS + [0.0])

    def cost(params, x):
        [(_, scores)] = network.training_outputs(params, x, None, None, network.names, counts)
        return scores[:ROWS].sum()

    gradient = jax.jit(jax.grad(cost))
    for x in images(side, steps=3):
        with torch.no_grad():
            net(to_torch(x))
        padded = jnp.concatenate([x, 1e3 * jnp.ones((1, *x.shape[1:]))])
        params, states = update(params, states, rates, gradient(params, padded))
    state, names = net.state_dict(), network.sources.formats["torchvision"].names
    for ours, file in names.items():
        stage, layer = ours.split("/") if "/" in ours else (ours, None)
        if f"{file}.running_mean" in state:
            near(params[stage][layer]["mean"], state[f"{file}.running_mean"])
            near(params[stage][layer]["variance"], state[f"{file}.running_var"])
