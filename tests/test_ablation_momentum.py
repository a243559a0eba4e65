"""Gradient descent with and without momentum on quadratics, against theory."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from gen_models.run.experiments import find
from gen_models.run.job import keys, make_job

EXPERIMENT = find("ablations.momentum_quadratic")
module = sys.modules[EXPERIMENT.data.__module__]
best, rate_of = module.best, module.rate_of
CURVATURES = {kappa: np.linspace(1 / kappa, 1, 2001) for kappa in (4.0, 100.0)}
METHODS = [("sgd", "quadratic"), ("momentum", "quadratic"), ("nesterov", "convex"), ("nesterov", "quadratic")]


@pytest.mark.parametrize("kappa", CURVATURES)
@pytest.mark.parametrize(("method", "best_for"), METHODS)
def test_the_closed_form_is_the_slowest_root(method, best_for, kappa):
    constants = best(method, kappa, best_for)
    found = rate_of(method, constants.learning_rate, constants.momentum, CURVATURES[kappa])
    assert found == pytest.approx(constants.rate, rel=1e-6)


@pytest.mark.parametrize("method", ["sgd", "momentum", "nesterov"])
def test_no_other_constants_are_better(method):
    constants = best(method, 100.0)
    for learning_rate in np.linspace(0.2, 4.2, 41):
        for momentum in np.linspace(0, 0.99, 34) if method != "sgd" else [0.0]:
            assert rate_of(method, learning_rate, momentum, CURVATURES[100.0]) > constants.rate - 1e-9


def test_rates_are_moduli_of_eigenvalues_of_the_iteration():
    """Two steps' coordinates (w_k, w_{k-1}) of one curvature, as the methods are written down."""
    lr, beta, h = 0.7, 0.6, 0.3
    heavy = [[1 + beta - lr * h, -beta], [1, 0]]
    nesterov = [[(1 + beta) * (1 - lr * h), -beta * (1 - lr * h)], [1, 0]]
    for method, matrix in (("momentum", heavy), ("nesterov", nesterov)):
        modulus = np.abs(np.linalg.eigvals(matrix)).max()
        assert rate_of(method, lr, beta, np.array([h])) == pytest.approx(modulus)


def _figures(config):
    job = make_job(EXPERIMENT, replace(config, seed=3))
    return {figure.name: figure.value for figure in job.figures(job.initial(3), keys(3).figures)}


@pytest.mark.parametrize(("name", "turned"), [("sgd", True), ("momentum", False), ("nesterov", True)])
def test_what_is_measured_is_theory(name, turned):
    found = _figures(replace(module.variants[name], condition=30.0, turned=turned))
    assert found["rate"] == pytest.approx(found["rate in theory"], rel=8e-3)  # (4 / 3)^(4 / 190): a double root


def test_a_learning_rate_of_ones_own_is_measured_too_and_its_rate_known():
    found = _figures(replace(module.base, learning_rate=0.5, condition=10.0, dimensions=2))
    assert found["rate in theory"] == pytest.approx(0.95) and found["rate"] == pytest.approx(0.95, rel=1e-4)


def test_the_loss_of_theory_s_gradient_descent_by_hand():
    config = replace(module.base, condition=9.0, dimensions=2, turned=False, steps=20)
    job = make_job(EXPERIMENT, config)
    state = job.initial(0)
    start = np.asarray(state.params["w"], np.float64)
    curvature = np.array([1 / 9, 1])
    end = start * (1 - 1.8 * curvature) ** 20
    expected = np.log10((curvature * end**2).sum() / (curvature * start**2).sum())
    assert {f.name: f.value for f in job.figures(state, keys(0).figures)}["log10 of the loss"] == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(optimizer="adam"), "adam has no best learning rate in theory: give --learning-rate"),
        (dict(condition=0.5), "--condition and --drawn-condition must be 1 or more"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_job(EXPERIMENT, replace(module.base, **changes))
