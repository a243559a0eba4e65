"""Nonlinear least squares against SciPy's `curve_fit`, linear least squares and what NIST certifies."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from gen_models.data.nist import certified_digits, nist_names, nist_nonlinear
from gen_models.models.supervised.least_squares import least_squares
from gen_models.models.supervised.nist_curves import NIST_CURVES
from gen_models.models.supervised.nonlinear_regression import nonlinear_least_squares, nonlinear_regression

NIST = Path(os.environ.get("GEN_MODELS_DATA_DIR", "/nowhere")) / "nist" / "nonlinear"
MISRA = """Data:          1 Response Variable  (y = volume)
  b1 =   500         250           2.3894212918E+02  2.7070075241E+00
  b2 =     0.0001      0.0005      5.5015643181E-04  7.2668688436E-06
Residual Sum of Squares:                    1.2455138894E-01
Data:   y               x
"""  # of NIST's Misra1a, public domain, as are its points
POINTS = """10.07 77.6\n14.73 114.9\n17.94 141.1\n23.93 190.8\n29.61 239.9\n35.18 289.0\n40.02 332.8
44.82 378.4\n50.76 434.8\n55.05 477.3\n61.01 536.8\n66.40 593.1\n75.47 689.1\n81.78 760.0\n"""


def _wave(b, x):
    return b[0] * jnp.sin(b[1] * x[:, 0]) + b[2]


def test_it_is_scipys_fit_with_its_errors():
    draw = np.random.default_rng(0)
    x = np.linspace(0, 4, 40)
    y = 2 * np.sin(1.3 * x) + 1 + 0.1 * draw.normal(size=40)
    theirs, covariance = optimize.curve_fit(lambda x, a, b, c: a * np.sin(b * x) + c, x, y, [1.5, 1.2, 0.5])
    ours = nonlinear_least_squares(_wave, x[:, None], y, [1.5, 1.2, 0.5])
    np.testing.assert_allclose(ours.parameters, theirs, rtol=1e-6)
    np.testing.assert_allclose(ours.errors, np.sqrt(np.diag(covariance)), rtol=1e-4)
    assert ours.converged and ours.parameters.dtype == np.float64
    np.testing.assert_allclose(ours.squares, ((y - np.asarray(_wave(theirs, x[:, None]))) ** 2).sum(), rtol=1e-6)
    np.testing.assert_allclose(ours.deviation, np.sqrt(ours.squares / 37), rtol=1e-12)


def test_of_a_line_it_is_linear_least_squares():
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(20, 2)), draw.normal(size=20)
    ours = nonlinear_least_squares(lambda b, x: b[0] + x @ b[1:], x, y, [0.0, 0.0, 0.0])
    line = least_squares(x, y)
    np.testing.assert_allclose(ours.parameters, np.append(line.bias, line.kernel), rtol=1e-12)
    np.testing.assert_allclose(ours.errors, np.append(line.bias_errors, line.kernel_errors), rtol=1e-12)


def test_parameters_that_the_data_do_not_tell_apart_have_no_errors():
    x = np.arange(1.0, 9)[:, None]
    fit = nonlinear_least_squares(lambda b, x: b[0] * b[1] * x[:, 0], x, 2 * x[:, 0] + np.cos(x[:, 0]), [1.0, 1.0])
    assert np.isnan(fit.errors).all()
    only = least_squares(x, 2 * x[:, 0] + np.cos(x[:, 0]), intercept=False)
    np.testing.assert_allclose(fit.parameters.prod(), only.kernel[0, 0], rtol=1e-9)  # their product is determined


def test_a_file_of_nists_is_read_and_fitted_to_its_digits(tmp_path):
    (tmp_path / "Misra1a.dat").write_text(MISRA + POINTS)
    assert nist_names(tmp_path) == ("Misra1a",)
    data = nist_nonlinear(tmp_path, "Misra1a")
    assert data.x.shape == (14, 1) and data.squares == 0.12455138894
    for start in data.starts:
        fit = nonlinear_least_squares(NIST_CURVES["Misra1a"], data.x, data.y, start)
        assert min(map(certified_digits, fit.parameters, data.parameters)) > 10
        assert min(map(certified_digits, fit.errors, data.errors)) > 10
        assert certified_digits(fit.squares, data.squares) > 9
    (tmp_path / "Misra1a.dat").write_text("nothing of it")
    with pytest.raises(ValueError, match="has no start values, certified values or data"):
        nist_nonlinear(tmp_path, "Misra1a")


def test_the_model_is_the_curve():
    x, b = np.linspace(0, 1, 5, dtype=np.float32)[:, None], [1.0, 2.0, 3.0]
    model = nonlinear_regression(_wave, b)
    batch = {"x": x, "y": np.zeros(5, np.float32)}
    params, stats = model.init(jax.random.key(0), batch)
    np.testing.assert_allclose(model.apply(params, stats, x), np.sin(2 * x[:, 0]) + 3, rtol=1e-6)
    value, _ = model.loss(params, stats, batch, jax.random.key(0), step=0)
    np.testing.assert_allclose(value, ((np.sin(2 * x[:, 0]) + 3) ** 2).mean(), rtol=1e-6)
    with pytest.raises(ValueError, match=r"'y' must be \[5\] numbers, got \[5, 1\]"):
        model.loss(params, stats, {"x": x, "y": x}, jax.random.key(0), step=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nonlinear_least_squares(_wave, np.ones((2, 1)), np.ones(2), [1, 1, 1]), "do not determine 3"),
        (
            lambda: nonlinear_least_squares(_wave, np.ones((3, 1)), np.ones(3), [np.nan, 1, 1]),
            "not finite at the start",
        ),
        (lambda: nonlinear_least_squares(_wave, np.ones((3, 1)), np.ones(1), [1, 1, 1]), r"got \[3, 1\], \[1\] and"),
        (lambda: nonlinear_least_squares(_wave, np.ones((3, 1)), np.full(3, np.nan), [1, 1, 1]), "holds NaN"),
        (lambda: nonlinear_regression(_wave, []), "one or more finite numbers"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_impossible_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow  # 12 seconds: 54 small programs
@pytest.mark.skipif(not NIST.is_dir(), reason="set GEN_MODELS_DATA_DIR to a folder with nist/nonlinear")
@pytest.mark.parametrize("name", NIST_CURVES)
def test_nists_nonlinear_sets_from_both_starts(name):
    data = nist_nonlinear(NIST, name)
    y = np.log(data.y) if name == "Nelson" else data.y
    for which, start in enumerate(data.starts):
        fit = nonlinear_least_squares(NIST_CURVES[name], data.x, y, start)
        found = min(map(certified_digits, fit.parameters, data.parameters))
        assert found > 8 or (name, which) == ("BoxBOD", 0), which
