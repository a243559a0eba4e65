"""What a convolution on the CPU is told besides its arrays; see `gen_models/nn/_conv_cpu.py`."""

from typing import NamedTuple


class Setting(NamedTuple):
    """Of a convolution in general: y[p] = sum_u x'[stride p + dilation u - before] w[u], where x'[spread q] = x[q].

    Between the elements x'[spread q], and in the padding, x' is 0. Each field but the last has one entry for each
    dimension of space. A convolution has spread 1, a transposed one stride 1.
    """

    stride: tuple[int, ...]
    spread: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]  # (before, after), elements of x'
    groups: int
    masked: bool = False  # whether zeros of the kernel must hide what they are multiplied with, to the last bit
