"""How far back the loss of a recurrent network reaches: its gradient by the state behind each step."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Split, Trained, compiled_for
from gen_models.measures.figure import AVERAGED, Figure


@dataclass(frozen=True)
class StateGradients:
    """Norm of dL/ds_t, L an example's loss and s_t the state behind step t, of a fresh network and of the trained one.

    For models whose `encode` gives the states and whose loss takes `nudges`, such as `recurrent_network`; the norm is
    that of all layers together, and of h and c of an LSTM. With the model's `window`, it is 0 before the last border.
    """

    examples: int = 100
    reads_parameters: ClassVar[bool] = False  # not those at the start; the figures at the end say it themselves

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The first state's norm over the last one's, and the spectral radius of the first layer's recurrent matrix."""
        where = f"{split.dataset.name}, {self.examples} training {split.data.examples}"
        for when, (norms, params) in self._norms(trained, split, key).items():
            of_average = f"; {AVERAGED}" if when == "end" and trained.averaged else ""
            ratio = float(norms[-1] / norms[0]) if norms[0] else float("nan")
            note = f"mean norm over examples, {len(norms) - 1} steps apart{of_average}"
            yield Figure(f"first / last state's gradient at the {when}", ratio, "ratio", where, note=note)
            note = f"largest |eigenvalue| of the first layer's recurrent matrix, of what it writes{of_average}"
            yield Figure(f"spectral radius at the {when}", spectral_radius(params), "", where, note=note)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `state_gradients.png`: the norm against the steps between the state and the end."""
        lines = {f"at the {when}": norms for when, (norms, _) in self._norms(trained, split, key).items()}
        y = "mean norm of the loss's gradient"
        plots.lines(lines, folder / "state_gradients.png", x="steps before the end", y=y, log=True)

    def _norms(self, trained: Trained, split: Split, key: Key) -> dict[str, tuple[np.ndarray, Params]]:
        """Norms [T] from the last state to the first, and the parameters they are of."""
        batch = split.train().some(self.examples)
        norms = compiled_for(_norms, trained.model)
        fresh, stats = trained.model.init(key, batch)
        of = {"start": (fresh, stats), "end": (trained.params, trained.stats)}
        return {when: (np.asarray(norms(*both, batch, key))[::-1], both[0]) for when, both in of.items()}


def _norms(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """The mean over examples of the norms of dL/ds_t, [T]."""
    loss: Any = model.loss
    if not callable(loss):
        raise ValueError(f"gradients are measured of one loss, not of players {sorted(loss)}")
    states = jax.eval_shape(model.encode, params, stats, batch["x"])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), states)
    carry = {"carry": model.init_carry(params, batch)} if model.has("init_carry") else {}

    def total(nudges: Any) -> jax.Array:  # the sum over examples: each one's gradient is its own
        value = loss(params, stats, batch, key, step=0, train=False, nudges=nudges, **carry)[0]
        return value * len(batch["x"])

    squares = [(leaf**2).sum(-1) for leaf in jax.tree.leaves(jax.grad(total)(zeros))]
    return jnp.sqrt(sum(squares[1:], squares[0])).mean(0)


def spectral_radius(params: Params) -> float:
    """The largest |eigenvalue| of the first recurrent matrix: of several gates, of the one that makes what is written.

    Kernels are [H, H], [H, 3 H] of a GRU and [H, 4 H] of an LSTM; of these, the third block is that of the candidate.

    Raises:
      ValueError: there is no recurrent kernel.
    """
    kernels = {
        jax.tree_util.keystr(path): np.asarray(leaf, np.float64)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if "recurrent_kernel" in jax.tree_util.keystr(path)
    }
    if not kernels:
        raise ValueError("the parameters have no recurrent kernel: the model is not recurrent")
    first = kernels[min(kernels)]
    size = len(first)
    block = first if first.shape[1] == size else first[:, 2 * size : 3 * size]
    return float(np.abs(np.linalg.eigvals(block)).max())
