"""Contenders made of the library's parts, and PyTorch's where it is installed."""

import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from gen_models.core import Batch, Model, TrainState, init_state, make_train_step
from gen_models.data import batches as make_batches
from gen_models.data import load
from gen_models.data.transforms import Transform
from gen_models.machine import cores
from gen_models.nn.devices import plain
from gen_models.training import parallel

from . import Contender

BATCHES = 8  # different ones, each used again and again


def images(batch_size: int, transform: Transform | None = None) -> list[Batch]:
    """Batches of the bundled images, {"x": [B, 28, 28, 1], "y": [B], ...}."""
    source = make_batches(load("fashion_mnist_bundled"), batch_size, transform=transform)
    rows = source.rows(0, BATCHES)
    make = jax.jit(source.make)
    return [make(source.data, row, jax.random.key(step)) for step, row in enumerate(rows)]


def initial(model: Model, tx: Any, batch: Batch) -> Callable[[], TrainState]:
    """A function that makes a fresh state."""
    return lambda: jax.jit(lambda key: init_state(model, tx, key, batch))(jax.random.key(0))


def trained(
    step: Callable, start: Callable[[], Any], batches: Sequence[Batch], parameters: int, loss: str = "loss"
) -> Contender:
    """`step`, (state, batch) -> (state, metrics), as one compiled program a step; the state's buffers are re-used.

    Args:
      step: what one program does.
      start: makes the first state, when it is first needed.
      batches: in turn.
      parameters: how many are trained.
      loss: its name in the metrics.
    """
    program = jax.jit(step, donate_argnums=0)
    state, done = None, 0

    def run():
        nonlocal state, done
        state, metrics = program(start() if state is None else state, batches[done % len(batches)])
        done += 1
        jax.block_until_ready((state, metrics))
        return metrics[loss]

    return Contender(run, parameters, hlo=lambda: program.lower(state or start(), batches[0]).compile().as_text())


def ours(model: Model, tx: Any, batches: Sequence[Batch], *, loss: str = "loss", **options: Any) -> Contender:
    """As `fit` trains on a CPU a model whose layers can be cut: each batch over as many devices as cores.

    Args:
      model: what is trained.
      tx: its optimizer, or those of its players.
      batches: in turn.
      loss: its name in the metrics.
      **options: of `make_train_step`, such as `repeats`.
    """
    size = jax.tree.leaves(batches[0])[0].shape[0]
    most = min(cores(), jax.device_count())
    mesh = parallel.data_mesh(max(d for d in range(1, min(size, most) + 1) if size % d == 0))
    if mesh.size == 1:
        return on_one_device(model, tx, batches, loss=loss, **options)
    step = parallel.on_mesh(make_train_step(model.loss, tx, **options), mesh)
    start = initial(model, tx, batches[0])
    places = parallel.shardings(jax.eval_shape(start), mesh)

    def cut_step(state, batch):
        state, metrics = step(state, batch)
        return parallel.constrain(state, places), metrics

    share = jax.jit(lambda batch: parallel.cut(batch, mesh))
    placed = [share(parallel.put(batch, parallel.shardings(batch, mesh))) for batch in batches]
    return trained(cut_step, lambda: parallel.put(start(), places), placed, parameters(start), loss)


def on_one_device(
    model: Model,
    tx: Any,
    batches: Sequence[Batch],
    *,
    layers: Callable | None = None,
    loss: str = "loss",
    **options: Any,
) -> Contender:
    """As `fit` trains any other model; `layers` is a context for its layers, such as `plain`; the rest is of `ours`."""
    step, start = make_train_step(model.loss, tx, **options), initial(model, tx, batches[0])

    def inside(state, batch):
        if layers is None:
            return step(state, batch)
        with layers():
            return step(state, batch)

    return trained(inside, start, batches, parameters(start), loss)


def plain_xla(model: Model, tx: Any, batches: Sequence[Batch], **options: Any) -> Contender:
    """The same model with XLA's own convolutions and loops, on JAX's default device; `options` are those of `ours`."""
    return on_one_device(model, tx, batches, layers=plain, **options)


def parameters(start: Callable[[], TrainState]) -> int:
    """How many the states that `start` makes have; none is made."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(start).params))


def torch_device() -> str | None:
    """The device that JAX computes on, as PyTorch names it; None where PyTorch is not there, or has none such."""
    if importlib.util.find_spec("torch") is None:
        return None
    if jax.default_backend() == "cpu":
        return "cpu"
    import torch

    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else None


def pytorch(
    network: Callable[[], Any],
    loss: Callable[[Any, dict[str, Any]], Any],
    batches: Sequence[Batch],
    learning_rate: float = 1e-3,
) -> dict[str, Contender]:
    """PyTorch's eager step on the same device, where it is installed: {"pytorch": contender}, else nothing.

    Args:
      network: makes the `torch.nn.Module`.
      loss: (network, batch) -> scalar tensor.
      batches: arrays; those of images, [B, H, W, C], become [B, C, H, W].
      learning_rate: Adam's.
    """
    device = torch_device()
    if device is None:
        return {}
    import torch

    torch.set_num_threads(cores())
    torch.manual_seed(0)
    module = network().to(device)
    rule = torch.optim.Adam(module.parameters(), learning_rate)

    def step(batch):
        rule.zero_grad(set_to_none=True)
        value = loss(module, batch)
        value.backward()
        rule.step()
        return value.detach()

    return {"pytorch": eager(step, batches, sum(p.numel() for p in module.parameters()))}


def eager(step: Callable[[dict[str, Any]], Any], batches: Sequence[Batch], parameters: int) -> Contender:
    """A step of PyTorch's, batch of tensors -> loss, on the device that JAX computes on; images become [B, C, H, W]."""
    import torch

    device, done = torch_device(), 0

    def tensor(x):
        x = np.array(x)  # a copy: tensors may be written to
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x
        return torch.from_numpy(x).to(device)

    tensors = [{name: tensor(x) for name, x in batch.items()} for batch in batches]

    def run():
        nonlocal done
        value = step(tensors[done % len(tensors)])
        done += 1
        if device == "cuda":
            torch.cuda.synchronize()  # the call is over when its work is
        return value

    return Contender(run, parameters)
