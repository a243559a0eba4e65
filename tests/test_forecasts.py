"""Forecasts of series: windows of a file, models against PyTorch and closed forms, errors and intervals by hand."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gen_models as gm
from gen_models.data import load
from gen_models.measures.forecasting import ForecastErrors
from gen_models.models.sequences.linear_forecaster import linear_forecaster
from gen_models.models.sequences.naive_forecaster import naive_forecaster
from gen_models.models.sequences.patch_transformer import patch_transformer
from gen_models.models.sequences.recurrent_forecaster import recurrent_forecaster
from tests.measured import KEY, figures_of, split_of, trained_of

THEIRS = Path(__file__).parent / "fixtures" / "dlinear_torch.npz"  # made by make_dlinear_torch.py beside it
DATA = os.environ.get("GEN_MODELS_DATA_DIR")
Q = (0.1, 0.5, 0.9)


def written(path, rows=40):
    """A file with times and two columns of numbers; the values float64 [rows, 2]."""
    values = np.arange(rows)[:, None] * np.array([1.0, -2.5]) + np.array([0.0, 7.0])
    lines = ["date,a,b", *(f"2020-01-{i:02},{one},{two}" for i, (one, two) in enumerate(values))]
    path.write_text("\n".join(lines) + "\n")
    return values


def test_windows_of_a_file_follow_one_another_and_parts_do_not_overlap(tmp_path):
    values = written(tmp_path / "a.csv")
    name = f"series:{tmp_path / 'a.csv'}?look_back=5&horizon=3&train=20&validation=8&test=10"
    for split, begin, end in (("train", 0, 20), ("validation", 20, 28), ("test", 28, 38)):
        part = load(name, split)
        first = max(begin, 5)
        assert part.kind == "series" and part.meaning.columns == ("a", "b") and len(part) == end - 3 - first + 1
        for index, (x, y) in enumerate(zip(part.arrays["x"], part.arrays["y"], strict=True)):
            at = first + index  # the first row that is forecast
            np.testing.assert_allclose(x, values[at - 5 : at])
            np.testing.assert_allclose(y, values[at : at + 3])
    np.testing.assert_allclose(part.meaning.mean, values[:20].mean(0))
    np.testing.assert_allclose(part.meaning.deviation, values[:20].std(0))
    assert part.passed_over == ("the column 'date', of times",)
    one = load(f"series:{tmp_path / 'a.csv'}?look_back=5&horizon=3&columns=b", "test")  # 28 + 4 + 8 rows
    np.testing.assert_allclose(one.arrays["y"][-1, :, 0], values[-3:, 1])
    assert one.shape == (5, 1) and len(one) == 6 and one.made == "drawn by us"


def test_files_that_are_no_series(tmp_path):
    path = tmp_path / "a.csv"
    written(path)
    for options, message in (
        ("train=20", "train alone: give train, validation and test, or none of them"),
        ("train=30&validation=9&test=9", "has 40 rows, and its parts 48"),
        ("look_back=5&horizon=9", "validation has 4 rows, which hold no window of look_back=5 and horizon=9"),
        ("look_back=0", "look_back=0 of a series must be a whole number of rows"),
        ("columns=c", "column"),
        ("step=3", "step"),
    ):
        with pytest.raises(ValueError, match=message):
            load(f"series:{path}?{options}")
    with pytest.raises(ValueError, match="there is no such file"):
        load(f"series:{tmp_path / 'b.csv'}")
    path.write_text(path.read_text().replace("-2.5", ""))
    written(tmp_path / "b.csv")
    (tmp_path / "b.csv").write_text((tmp_path / "b.csv").read_text().replace("3.0,-0.5", "3.0,"))
    with pytest.raises(ValueError, match="line 5: 'b' is '', and a series has a number at each time: fill it in, or"):
        load(f"series:{tmp_path / 'b.csv'}")


def test_the_floor_is_the_error_of_who_knows_the_waves():
    """Of noise alone, the best forecast h steps ahead is persistence^h of the last value."""
    values = gm.seasonal_series(200_000, channels=2, periods=(), noise=0.5, persistence=0.8).astype(np.float64)
    floor = gm.seasonal_floor(4, noise=0.5, persistence=0.8)
    found = [((values[h:] - 0.8**h * values[:-h]) ** 2).mean() for h in range(1, 5)]
    np.testing.assert_allclose(found, floor, rtol=0.02)
    assert values.var() == pytest.approx(0.25 / (1 - 0.64), rel=0.05)
    waves = gm.seasonal_series(48 * 7, noise=0.0)
    np.testing.assert_allclose(waves[:168], waves[168:], atol=1e-4)
    np.testing.assert_array_equal(waves, gm.seasonal_series(48 * 7, noise=0.0))


def test_dlinear_is_that_of_pytorch():
    theirs = dict(np.load(THEIRS))
    model = linear_forecaster((9, 3), 4, window=5)
    of = lambda kind: {p: {w: theirs[f"{kind}/{p}/{w}"] for w in ("kernel", "bias")} for p in ("trend", "season")}  # noqa: E731
    np.testing.assert_allclose(model.apply(of("params"), {}, theirs["x"]), theirs["forecast"], atol=1e-5)
    batch = {"x": theirs["x"], "y": theirs["y"]}
    loss = lambda params: model.loss(params, {}, batch, KEY, step=0)[0]  # noqa: E731
    value, gradients = jax.value_and_grad(loss)(of("params"))
    assert float(value) == pytest.approx(float(theirs["loss"]), rel=1e-5)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, atol=1e-5), gradients, of("gradients"))


def test_naive_forecasts_are_rows_of_before():
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    last, season = naive_forecaster((7, 3), 8), naive_forecaster((7, 3), 8, period=3)
    np.testing.assert_array_equal(last.apply({}, {}, x), np.repeat(x[:, -1:], 8, 1))
    np.testing.assert_array_equal(season.apply({}, {}, x), x[:, [4, 5, 6, 4, 5, 6, 4, 5]])
    assert last.init(KEY, {"x": x}) == ({}, {})


@pytest.mark.parametrize(
    ("make", "sizes", "scales"),
    [
        (linear_forecaster, {"kind": "last"}, False),
        pytest.param(recurrent_forecaster, {"features": 4}, False, marks=pytest.mark.slow),
        (patch_transformer, {"patch": 4, "stride": 2, "features": 4, "layers": 1, "heads": 2}, True),
    ],
)
@pytest.mark.slow_cases("patch_transformer-sizes2-True")
def test_a_level_that_was_not_seen_moves_the_forecast_with_it(make, sizes, scales):
    x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype(np.float32)
    model = make((12, 3), 5, **sizes, quantiles=Q)
    params, _ = model.init(KEY, {"x": x})
    apply = jax.jit(lambda x: model.apply(params, {}, x, quantiles=True))
    found = np.asarray(apply(x))
    assert found.shape == (2, 5, 3, 3) and (np.diff(found, axis=-1) >= 0).all()
    np.testing.assert_allclose(apply(x + 100), found + 100, atol=2e-3)
    if scales:  # and columns are read by themselves
        np.testing.assert_allclose(apply(3 * x), 3 * found, atol=2e-3)
        np.testing.assert_allclose(apply(x[..., [2, 0, 1]]), found[:, :, [2, 0, 1]], atol=1e-5)
        other = x.copy()
        other[..., 1] = 0.3
        np.testing.assert_allclose(apply(other)[..., [0, 2], :], found[..., [0, 2], :], atol=1e-5)


def test_quantiles_are_those_of_what_follows():
    """Of noise that nothing foretells, trained quantiles are those of the normal distribution, and intervals honest."""
    rng = np.random.default_rng(0)
    arrays = {"x": np.zeros((4000, 3, 1), np.float32), "y": rng.normal(size=(4000, 2, 1)).astype(np.float32)}
    model, tx = linear_forecaster((3, 1), 2, kind="plain", quantiles=Q), optax.adam(0.02)
    state = gm.init_state(model, tx, KEY, arrays)
    step = jax.jit(gm.make_train_step(model.loss, tx))
    for _ in range(200):
        state, _ = step(state, arrays)
    found = np.asarray(model.apply(state.params, {}, arrays["x"][:1], quantiles=True))[0, :, 0]
    np.testing.assert_allclose(found, np.tile(np.quantile(arrays["y"], Q), (2, 1)), atol=0.08)
    trained = trained_of(params=state.params, apply=model.apply)
    figures = figures_of(ForecastErrors(Q), trained, split_of(arrays))
    assert figures["coverage of the 80% interval"].value == pytest.approx(0.8, abs=0.02)
    assert figures["coverage of the 80% interval"].note == "honest: 0.8"
    each = [arrays["y"][..., 0] - found[:, index] for index in range(3)]
    pinball = [np.maximum(q * error, (q - 1) * error) for q, error in zip(Q, each, strict=True)]
    loss = model.loss(state.params, {}, arrays, KEY, step=0, train=False)[0]
    assert float(loss) == pytest.approx(2 * np.mean(pinball), rel=1e-4)


def test_errors_are_means_over_windows_steps_and_columns(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(40, 6, 2)), "y": rng.normal(size=(40, 3, 2))}
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    trained = trained_of(params={}, apply=naive_forecaster((6, 2), 3).apply)
    found = figures_of(ForecastErrors(), trained, split_of(arrays))
    error = arrays["y"] - arrays["x"][:, -1:]
    assert found["MSE"].value == pytest.approx((error**2).mean(), rel=1e-5)
    assert found["MAE"].value == pytest.approx(np.abs(error).mean(), rel=1e-5)
    blocks = (error**2).mean((1, 2)).reshape(10, 4).mean(1)
    assert found["MSE"].spread == pytest.approx(blocks.std(ddof=1) / 10**0.5, rel=1e-4)
    few = split_of({name: value[:19] for name, value in arrays.items()})
    assert figures_of(ForecastErrors(), trained, few)["MSE"].spread is None
    ForecastErrors().draw(trained, split_of(arrays), KEY, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"error_by_step.png", "forecasts.png"}


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused():
    for make, message in (
        (lambda: linear_forecaster((5,), 2), "a series' shape is"),
        (lambda: linear_forecaster((5, 1), 0), "sizes must be positive, got horizon=0"),
        (lambda: linear_forecaster((5, 1), 2, window=4), "windows must be odd"),
        (lambda: linear_forecaster((5, 1), 2, kind="cubic"), "cubic"),
        (lambda: linear_forecaster((5, 1), 2, quantiles=(0.1, 0.9)), "with 0.5 among them"),
        (lambda: linear_forecaster((5, 1), 2, quantiles=(0.9, 0.5)), "must rise"),
        (lambda: naive_forecaster((5, 1), 2, period=6), "period=6 is longer than the 5 rows"),
        (lambda: patch_transformer((5, 1), 2), "patch=16 is longer than the 5 rows"),
        (lambda: patch_transformer((32, 1), 2, heads=3), "3 heads must divide"),
        (lambda: recurrent_forecaster((5, 1), 2, cell="elman"), "elman"),
        (lambda: gm.seasonal_series(5, persistence=1.0), "persistence in"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    model = linear_forecaster((5, 1), 2)
    x = jnp.zeros((3, 5, 1))
    params, _ = model.init(KEY, {"x": x})
    with pytest.raises(ValueError, match=r"'y' must be \[3, 2, 1\], rows that follow, got \[3, 1, 1\]"):
        model.loss(params, {}, {"x": x, "y": x[:, :1]}, KEY, step=0)
    with pytest.raises(ValueError, match="no 'y', only"):
        model.loss(params, {}, {"x": x}, KEY, step=0)
    with pytest.raises(ValueError, match="forecasts the mean alone: build it with quantiles"):
        model.apply(params, {}, x, quantiles=True)


@pytest.mark.skipif(DATA is None, reason="GEN_MODELS_DATA_DIR names no folder with the real data")
def test_the_parts_of_etth1_are_the_customary_ones():
    name = f"series:{DATA}/tabular/ETTh1.csv?train=8640&validation=2880&test=2880&look_back=336&horizon=96"
    parts = [load(name, split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [8209, 2785, 2785]
    assert parts[0].shape == (336, 7) and parts[0].meaning.columns[-1] == "OT"
