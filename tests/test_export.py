"""An exported sampler gives the model's own samples, in a process that has neither Flax nor this package."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from saved import saved_run
from tool_runs import run_tool
from zoo import ZOO

from gen_models.core import Model, TrainState
from gen_models.export import DEFAULT_PLATFORMS, check, export_sampler, trained_parameters, write
from gen_models.nn.conv import conv_transpose
from gen_models.run.config import BAD_INPUT
from gen_models.run.restore import load_run
from tools import export as tool

CALLS = [(0, 5), (0, 5), (1, 5), (2**32 - 1, 3)]  # (seed, number of samples)

# What a user runs, after a finder that refuses the libraries which made the file.
REFUSE = """
import json, sys
from pathlib import Path

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("flax", "gen_models", "optax", "orbax", "jaxtyping", "zoo"):
            raise ImportError(f"{name} is not to be had here")

sys.meta_path.insert(0, Refuse())
"""
ELSEWHERE = f"""{REFUSE}
import numpy as np
from jax import export

for folder in json.loads(sys.argv[1]):
    program = export.deserialize(bytearray(Path(folder, "sampler.stablehlo").read_bytes()))
    for i, (seed, n) in enumerate(json.loads(sys.argv[2])):
        np.save(f"{{folder}}/{{i}}.npy", program.call(np.uint32(seed), np.zeros(n, np.uint32)))
for name in ("flax", "gen_models"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{{name}} was there")
"""


def _convolutional():
    """A sampler with a strided transposed convolution, whose form depends on where it is traced."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 1)).astype(np.float32)

    def sample(params, stats, key, n):
        return jnp.tanh(conv_transpose(jax.random.normal(key, (n, 4, 4, 2)), params["kernel"], strides=2))

    return _model(sample), {"kernel": kernel}, {}


def _model(sample):
    return Model(init=lambda key, batch: ({}, {}), loss=lambda *_, **__: None, sample=sample)


@functools.cache
def _case(name):
    """A model, parameters and stats; batch norm's averages are not those that it starts from."""
    if name == "convolutional":
        return _convolutional()
    entry = ZOO[name]()
    params, stats = jax.jit(entry.model.init)(jax.random.key(0), entry.batch(0, 16))
    return entry.model, params, jax.tree.map(lambda x: 1.5 * x - 0.4, stats)


@functools.cache
def _exported(name):
    return export_sampler(*_case(name))


def _program(name):
    return jax.export.deserialize(bytearray(_exported(name)))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """name -> the samples of each of `CALLS`, drawn in another process."""
    root = tmp_path_factory.mktemp("elsewhere")
    names = ["vae", "gan", "convolutional"]
    for name in names:
        (root / name).mkdir()
        write(root / name / "sampler.stablehlo", _exported(name))
    words = [sys.executable, "-c", ELSEWHERE, json.dumps(names), json.dumps(CALLS)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: [np.load(root / name / f"{i}.npy") for i in range(len(CALLS))] for name in names}


@pytest.mark.slow_cases("vae")
@pytest.mark.parametrize("name", ["vae", "gan", "convolutional"])
def test_elsewhere_the_samples_are_those_of_the_model(name, elsewhere):
    model, params, stats = _case(name)
    sample = jax.jit(model.sample, static_argnums=3)
    for (seed, n), x in zip(CALLS, elsewhere[name], strict=True):
        expected = np.asarray(sample(params, stats, jax.random.key(seed), n))
        assert x.dtype == expected.dtype
        np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)
    first, again, other, _ = elsewhere[name]
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-2
    assert len(np.unique(first.reshape(len(first), -1), axis=0)) == len(first)


@pytest.mark.parametrize("name", ["vae", "gan", "convolutional"])
def test_one_file_is_for_all_platforms_and_needs_nothing_unstable(name):
    program = _program(name)
    assert program.platforms == DEFAULT_PLATFORMS == ("cpu", "cuda", "tpu")
    assert program.disabled_safety_checks == () and program.nr_devices == 1
    text = program.mlir_module()
    assert set(re.findall(r"custom_call @([\w.$]+)", text)) <= {"shape_assertion"}
    if name == "convolutional":  # one convolution, not the CPU's by sub-pixels
        assert set(re.findall(r"lhs_dilate = (\[.*?\])", text)) == {"[2, 2]"}


def test_the_file_holds_what_sampling_reads_and_no_more():
    model, params, stats = _case("vae")
    wide = jax.tree.map(lambda _: np.zeros((1000, 1000), np.float32), params["encoder"])
    assert len(export_sampler(model, params | {"encoder": wide}, stats)) < 100_000


def test_parameters_that_are_cut_over_devices_make_the_same_program_for_one():
    model, params, stats = _case("gan")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def cut(x):
        spec = jax.sharding.PartitionSpec(*[None] * (x.ndim - 1), "data" if x.shape[-1] == 8 else None)
        return jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))

    everywhere = jax.tree.map(cut, (params, stats))
    assert any(not x.is_fully_replicated for x in jax.tree.leaves(everywhere))
    program = jax.export.deserialize(bytearray(export_sampler(model, *everywhere)))
    assert program.nr_devices == 1
    call = (np.uint32(4), np.zeros(6, np.uint32))
    np.testing.assert_array_equal(program.call(*call), _program("gan").call(*call))


def test_a_sampler_that_must_know_the_number_of_samples_says_so():
    def loop(params, stats, key, n):
        return jnp.stack([jax.random.normal(jax.random.fold_in(key, i), (2,)) for i in range(n)])

    def branch(params, stats, key, n):
        return jax.random.normal(key, (n,)) * (2 if n > 4 else 1)

    for sample in (loop, branch):
        with pytest.raises(ValueError, match=r"needs to know the number of samples .*: give a count"):
            export_sampler(_model(sample), {}, {}, platforms=["cpu"])
        program = jax.export.deserialize(bytearray(export_sampler(_model(sample), {}, {}, platforms=["cpu"], count=3)))
        expected = sample({}, {}, jax.random.key(1), 3)
        np.testing.assert_allclose(program.call(np.uint32(1)), expected, rtol=1e-5, atol=1e-5)


def test_an_operation_that_is_not_kept_stable_is_refused():
    def sample(params, stats, key, n):
        x = jax.random.normal(key, (n, 2))
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises((ValueError, NotImplementedError), match="callback"):
        export_sampler(_model(sample), {}, {}, platforms=["cpu"], count=3)


def test_bad_arguments_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="unknown platform 'cude': did you mean 'cuda'"):
        check(["cpu", "cude"])
    with pytest.raises(ValueError, match="no platform to export for"):
        check([])
    with pytest.raises(ValueError, match="count must be 1 or more, got 0"):
        check(["cpu"], 0)
    with pytest.raises(ValueError, match="the model takes no labels, got label"):
        export_sampler(*_case("vae"), label=3)
    with pytest.raises(ValueError, match="the model has no samples"):
        export_sampler(Model(lambda key, batch: ({}, {}), lambda *_, **__: None), {}, {})
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"pip install 'gen_models\[export\]'"):
        export_sampler(*_case("vae"))


def test_which_parameters_of_a_state():
    params, ema, stats = ({"w": np.arange(6.0).reshape(3, 2) + i} for i in (0, 10, 20))
    state = TrainState(np.int32(7), None, params, stats, {}, ema)
    assert trained_parameters(state) == (ema, stats)
    assert trained_parameters(state._replace(ema=None)) == (params, stats)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "sampler.stablehlo"
    write(path, b"first")

    def full(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write(path, b"second, longer")
    assert path.read_bytes() == b"first"


@pytest.mark.slow
def test_the_tool_exports_what_a_trained_run_is_evaluated_with(tmp_path, monkeypatch, capsys):
    folder = saved_run("vae", "base", tmp_path / "run", steps=4, learning_rate=0.1, ema_decay=0.9)
    assert run_tool(tool, monkeypatch, folder) == 0
    out = capsys.readouterr().out
    file = folder / "sampler.stablehlo"
    assert f"{file.stat().st_size / 1e6:.2f} MB for cpu, cuda, tpu; samples are float32 [n, 8, 8, 1]" in out
    assert "the averaged parameters of step 4" in out
    # The lines that it prints are a program; its samples are those of tools.sample.
    lines = out[out.index("    from pathlib") :].replace("    ", "")
    names: dict = {}
    exec(lines, names)
    _, _, job, state = load_run(folder)

    def sampled(state):
        return job.sampler().sample(job.trained(state), jax.random.key(0), 64)

    np.testing.assert_allclose(names["x"], sampled(state), rtol=1e-5, atol=1e-5)
    assert np.abs(names["x"] - sampled(state._replace(ema=None))).max() > 1e-2

    chosen = tmp_path / "other.stablehlo"
    assert run_tool(tool, monkeypatch, folder, "--out", chosen, "--platforms", "tpu", "--count", 3) == 0
    assert "samples are float32 [3, 8, 8, 1]" in capsys.readouterr().out
    assert jax.export.deserialize(bytearray(chosen.read_bytes())).platforms == ("tpu",)


@pytest.mark.slow
def test_the_tool_exports_a_sampler_of_one_class(tmp_path, monkeypatch, capsys):
    folder = saved_run("inpainting", "gated_pixel_cnn", tmp_path / "run", steps=1, conditional=True, learning_rate=0.1)
    assert run_tool(tool, monkeypatch, folder, "--platforms", "cpu") == BAD_INPUT
    error = capsys.readouterr().err
    assert "is told the class: give --label" in error and len(error.strip().splitlines()) == 1
    assert run_tool(tool, monkeypatch, folder, "--platforms", "cpu", "--label", 10) == BAD_INPUT
    assert "--label must be from 0 to 9, got 10" in capsys.readouterr().err
    assert run_tool(tool, monkeypatch, folder, "--platforms", "cpu", "--label", 3) == 0
    program = jax.export.deserialize(bytearray((folder / "sampler.stablehlo").read_bytes()))
    x = program.call(np.uint32(7), np.zeros(5, np.uint32))
    _, _, job, state = load_run(folder)
    draw = jax.jit(lambda label: job.model.sample(state.params, state.stats, jax.random.key(7), 5, label=label))
    np.testing.assert_array_equal(x, draw(np.full(5, 3)))
    assert (x != draw(np.full(5, 4))).any()


def test_the_tool_names_a_run_without_samples(tmp_path, monkeypatch, capsys):
    folder = saved_run("classifier", "cnn", tmp_path / "run")
    assert run_tool(tool, monkeypatch, folder) == BAD_INPUT
    error = capsys.readouterr().err
    assert f"{folder} is a run of experiments.classifier, whose model has no samples" in error
    assert len(error.strip().splitlines()) == 1 and not (folder / "sampler.stablehlo").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--platforms", "cude"], "unknown platform 'cude'"),
        (["--count", "0"], "count must be 1 or more"),
        (["--out", "no/such/folder/x"], "the folder no/such/folder does not exist"),
        (["--out", "."], "is a folder"),
        ([], "holds no run"),
    ],
)
def test_the_tool_refuses_bad_input_before_it_looks_for_the_run(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_tool(tool, monkeypatch, "absent", *words) == BAD_INPUT
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_the_tool_names_the_extra_that_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    assert run_tool(tool, monkeypatch, "absent") == BAD_INPUT
    error = capsys.readouterr().err
    assert "pip install 'gen_models[export]'" in error and len(error.strip().splitlines()) == 1


def test_the_script_of_the_documentation_runs_without_this_package(tmp_path):
    folder = saved_run("vae", "base", tmp_path / "run", dataset="fashion_mnist_bundled")
    _, _, job, state = load_run(folder)
    write(tmp_path / "sampler.stablehlo", export_sampler(job.model, state.params, state.stats))
    page = (Path(__file__).parent.parent / "docs" / "runs.md").read_text()
    script = next(block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "sampler.stablehlo" in block)
    assert len([line for line in script.splitlines() if line]) <= 10
    code = REFUSE + script
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "samples.png") as picture:
        drawn = np.asarray(picture)
    expected = np.asarray(job.model.sample(state.params, state.stats, jax.random.key(0), 64))[..., 0]
    expected = np.uint8(255 * expected.reshape(8, 8, 28, 28).swapaxes(1, 2).reshape(224, 224))
    assert np.abs(drawn.astype(int) - expected.astype(int)).max() <= 1
