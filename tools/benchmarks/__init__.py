"""What `tools/benchmark.py` measures: cases by name. Imports no JAX; a case imports its module when it is built."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from gen_models.errors import unknown


class Contender(NamedTuple):
    """One way to train, whose state goes on from call to call, or to sample."""

    run: Callable[[], Any]  # trains or samples, waits until all of it is done; a number that must be finite: the loss
    parameters: int  # how many the model has
    steps: int = 1  # of training in one call; of sampling, what the case counts
    hlo: Callable[[], str | None] | None = None  # the compiled program as text; None: not one of XLA's
    compile_seconds: float | None = None  # what compiling it took, where that was measured


class Case(NamedTuple):
    """A comparison. Its first contender is ours, which every other is compared with."""

    module: str  # of this package
    about: str
    rounds: int = 30
    seconds: float = 0.3  # that a contender's turn lasts in a round, at least one call
    settle: bool = True  # a turn begins with a call that is not timed
    warm_up: bool = True  # calls go before the first round; not where each call starts processes of its own
    function: str | None = None  # of the module, (ExitStack, *arguments) -> contenders; None: that of the case's name
    arguments: tuple[str, ...] = ()
    derived: str | None = None  # a function of the module: times -> name -> (ratio, seconds of the other), each round

    def rows_of(self, times: Mapping[str, Sequence[float]]) -> dict[str, tuple[Any, Any]]:
        """What follows from the times beside the ratios of two contenders; nothing of most cases."""
        if self.derived is None:
            return {}
        return getattr(importlib.import_module(f"{__name__}.{self.module}"), self.derived)(times)

    def build(self, name: str, stack: ExitStack) -> dict[str, Contender]:
        """The contenders by name; `stack` closes what they opened."""
        module = importlib.import_module(f"{__name__}.{self.module}")
        return getattr(module, self.function or name)(stack, *self.arguments)


CASES: dict[str, Case] = {
    "step_vae": Case("steps", "make_train_step against the same update by hand: MLP VAE 784-512-512-32, batch 128", 60),
    "step_gan": Case("steps", "make_train_step against the same updates by hand: two players, 2-D grid, batch 100", 60),
    "step_wgan_gp": Case(
        "adversarial",
        "make_train_step against losses and updates by hand: WGAN-GP, 2-512-512-512-1, 5 updates on 256 points",
        30,
    ),
    "step_dcgan": Case(
        "adversarial", "make_train_step against the same updates by hand: DCGAN 28x28x1, batch 32, on one device", 15
    ),
    "gradient_penalty": Case(
        "adversarial",
        "an update's gradient with WGAN-GP's penalty, and what it costs without: DCGAN's critic, 32 images 28x28x1",
        30,
        derived="backward_passes",
    ),
    "bernoulli": Case(
        "steps", "log p of binary images [128, 28, 28, 1] and its gradient, against the sum over three axes as written"
    ),
    "saving": Case(
        "steps", "fit with a checkpoint every 100 steps against fit without: MLP VAE, 600 steps a turn", 8, 0.0, False
    ),
    "grid_seeds": Case(
        "seeds", "ten seeds of gan_grid, stacked and one after another: a step is one of all ten", 8, 0.0, False
    ),
    "grid_launches": Case(
        "seeds",
        "ten seeds of gan_grid, 300 steps each, as a sweep and as ten commands; a step is all of it",
        1,
        0.0,
        False,
        False,
    ),
    "conv_stack": Case("layers", "five 3x3 convolutions of 64 channels, 32 images 28x28x1, Adam", 15),
    "dcgan": Case(
        "layers", "4x4 convolutions of stride 2 to 64 and 128 channels and back, batch norm, 64 images 28x28x1, Adam"
    ),
    "mlp_vae": Case("layers", "MLP VAE 784-512-512-32, Bernoulli likelihood, batch 128, Adam", 60),
    "conv_vae": Case(
        "latent", "convolutional VAE 28x28x1, 4x4 of stride 2 to 32 and 64 channels, 256, 32 latents, batch 64, Adam"
    ),
    "step_iwae": Case(
        "latent", "make_train_step against the same update by hand: IWAE, 5 samples, 784-200-200-50, batch 100", 60
    ),
    "importance": Case(
        "latent",
        "importance samples of 50 images, VAE 784-300-300-40, against its decoder alone; a step is one of an image",
        10,
    ),
    "lstm": Case("layers", "LSTM, 256 inputs and features, 128 steps, batch 32, Adam"),
    "step_transformer": Case(
        "tokens", "nanoGPT's sizes for a CPU: 4 layers, 128 wide, 12 windows of 64 tokens, Adam", 30
    ),
}

_CONVOLUTIONS = ("pixel_cnn", "gated_pixel_cnn", "pixel_cnn_pp", "pixel_snail")
_PIXEL_MODELS = (*_CONVOLUTIONS, "row_lstm", "diagonal_lstm", "image_gpt")


def _causal(function: str, about: str, names: tuple[str, ...], rounds: int, **options) -> dict[str, Case]:
    """A case for each model, called by both names."""
    cases = {}
    for name in names:
        cases[f"{function}_{name}"] = Case(
            "causal", f"{name}: {about}", rounds, **options, function=function, arguments=(name,)
        )
    return cases


CASES |= _causal(
    "sampling",
    "16 images 28x28x1 drawn with caches, against one scan of full forward passes; a step is all of it",
    ("fvsbn", "nade", "made", *_PIXEL_MODELS),
    3,
    settle=False,
)
CASES |= {
    f"sampling_{name}": Case(
        "tokens",
        f"{about}, against one scan of whole networks",
        3,
        settle=False,
        function="sampling",
        arguments=(name,),
    )
    for name, about in {
        "transformer": "16 texts of 256 tokens drawn with keys and values kept, 4 layers, 128 wide",
        "lstm_text": "16 texts of 256 tokens drawn with states kept, an LSTM of 256 features",
    }.items()
}
CASES |= _causal(
    "area", "a pixel of 16 images drawn with caches, in images of 16, 32 and 64 pixels a side", _PIXEL_MODELS, 5
)
CASES |= _causal(
    "unmasked", "a training step, batch 32, against plain convolutions with the same windows", _CONVOLUTIONS, 15
)
CASES |= {
    f"whole_{name}": Case("adversarial", f"a step of both players: {about}", 7, function="whole", arguments=(name,))
    for name, about in {
        "dcgan28": "DCGAN 28x28x1 of 128 and 256 channels, batch 32, Adam",
        "dcgan64": "DCGAN 64x64x3 as published (1,024 channels), batch 16, Adam",
        "wgan_gp28": "WGAN-GP with DCGAN's networks 28x28x1, five updates of the critic on 32 images, Adam",
    }.items()
}
CASES |= {
    "sampling_wavenet": Case(
        "temporal",
        "4 sequences of 1,024 tokens by ring buffers, WaveNet of 10 layers of 32, against a scan of forward passes",
        3,
        settle=False,
    ),
    "step_wavenet": Case("temporal", "a training step of the same WaveNet, 4 sequences of 2,048 tokens, Adam", 15),
    "step_tcn": Case("temporal", "5 residual blocks of 64, windows of 3, weight norm, 16 x 256 tokens, Adam", 15),
}
CASES |= {
    f"conv_{kind}": Case("convolutions", about, 15, function="convolutions", arguments=(kind,))
    for kind, about in {
        "depthwise": "3x3 convolution to 32, then 3x3 depthwise and 1x1 ones in turn to 128, 32 images 28x28x1, Adam",
        "grouped": "3x3 convolution to 64, then four in 8 groups to 128, 32 images 28x28x1, Adam",
        "1d": "five convolutions to 128 channels, windows 9 to 3, 32 sequences of 1,024 numbers, Adam",
        "3d": "five 3x3x3 convolutions to 64 channels, 16 volumes 16x16x16x1, Adam",
    }.items()
}
CASES["step_recurrent"] = Case(
    "causal", "a training step of three layers: Diagonal BiLSTM, Row LSTM, PixelCNN, 32 wide, batch 32", 15
)


def chosen(names: Sequence[str]) -> list[str]:
    """The cases of these names, in their order; `sampling` stands for all whose names begin with `sampling_`.

    Raises:
      ValueError: no case has such a name.
    """
    found: list[str] = []
    for name in names:
        group = [name] if name in CASES else [case for case in CASES if case.startswith(f"{name}_")]
        if not group:
            groups = {case.partition("_")[0] for case, what in CASES.items() if what.function}
            raise unknown("case", name, [*CASES, *sorted(groups)])
        found += [case for case in group if case not in found]
    return found
