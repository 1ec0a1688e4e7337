"""Covariance operators against dense matrices."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assimilation import EachTime, LowRank, dense, scaled, scaled_identity, square_root

rng = np.random.default_rng(3)
root = rng.normal(size=(5, 5))
STATE = dense((root @ root.T + np.eye(5)).astype(np.float32))
SAMPLES = jnp.asarray(rng.normal(size=(20, 3, 5)), jnp.float32)
OPERATORS = {
    "dense": STATE,
    "scaled": STATE * 0.25,
    "identity": lx.IdentityLinearOperator(jax.ShapeDtypeStruct((5,), jnp.float32)),
    "diagonal": scaled_identity(4.0, 5),
    "each_time": EachTime(STATE, 3),
    "low_rank": LowRank.from_samples(SAMPLES),
}


def flat_matrix(operator):
    """The matrix of an operator from an array of any shape to another."""
    start = operator.in_structure()
    unit = jnp.eye(start.size).reshape(start.size, *start.shape)
    return np.stack([np.asarray(operator.mv(row)).ravel() for row in unit], axis=1)


@pytest.mark.parametrize("name", OPERATORS)
def test_square_roots_square_to_the_covariance(name):
    operator = OPERATORS[name]
    L = flat_matrix(square_root(operator))
    np.testing.assert_allclose(L @ L.T, flat_matrix(operator), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["each_time", "low_rank"])
def test_structured_operators_are_their_matrices(name):
    operator = OPERATORS[name]
    matrix = np.asarray(operator.as_matrix())
    np.testing.assert_allclose(matrix, flat_matrix(operator), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-5, atol=1e-6)
    assert np.linalg.eigvalsh(matrix.astype(float))[0] > -1e-5
    assert lx.is_symmetric(operator)
    assert lx.is_positive_semidefinite(operator)


def test_each_time_is_a_kronecker_product():
    want = np.kron(np.eye(3), STATE.as_matrix())
    np.testing.assert_allclose(OPERATORS["each_time"].as_matrix(), want, rtol=1e-6)
    diagonal = EachTime(scaled_identity(4.0, 5), 3)
    assert lx.is_diagonal(diagonal)
    np.testing.assert_allclose(lx.diagonal(diagonal), np.full(15, 4.0))
    assert not lx.is_diagonal(OPERATORS["each_time"])


def test_from_samples_is_the_sample_covariance():
    want = np.cov(np.asarray(SAMPLES).reshape(20, -1).T)
    np.testing.assert_allclose(OPERATORS["low_rank"].as_matrix(), want, rtol=1e-4, atol=1e-5)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_roots_and_their_transposes_are_adjoint(seed):
    keys = jax.random.split(jax.random.key(seed), 2)
    for operator in OPERATORS.values():
        L = square_root(operator)
        v = jax.random.normal(keys[0], L.in_structure().shape)
        w = jax.random.normal(keys[1], L.out_structure().shape)
        left = jnp.vdot(L.mv(v), w)
        right = jnp.vdot(v, L.T.mv(w))
        scale = jnp.linalg.norm(L.mv(v)) * jnp.linalg.norm(w)
        assert abs(left - right) <= 1e-5 * scale


@pytest.mark.usefixtures("untyped")
def test_a_covariance_may_be_given_as_lists_or_in_double_precision():
    for matrix in ([[2.0, 0.5], [0.5, 1.0]], np.array([[2.0, 0.5], [0.5, 1.0]])):
        operator = dense(matrix)
        np.testing.assert_allclose(operator.mv(jnp.ones(2)), [2.5, 1.5])
        assert lx.is_positive_semidefinite(operator)


def test_scaled_covariances_keep_their_tag_under_jit():
    def half(factor):
        operator = scaled(STATE, factor)
        assert lx.is_positive_semidefinite(operator)
        return operator.as_matrix()

    np.testing.assert_allclose(jax.jit(half)(0.5), 0.5 * STATE.as_matrix(), rtol=1e-6)


@pytest.mark.parametrize("name", ["dense", "low_rank", "each_time"])
def test_draws_of_the_background_have_its_covariance(name):
    """x = L chi with chi standard normal: what methods and ensembles draw with."""
    operator = OPERATORS[name]
    L = square_root(operator)
    chi = jax.random.normal(jax.random.key(1), (4000, *L.in_structure().shape))
    draws = np.asarray(jax.vmap(L.mv)(chi)).reshape(4000, -1)
    matrix = flat_matrix(operator)
    assert np.abs(np.cov(draws.T) - matrix).max() < 6 * np.abs(matrix).max() / 4000**0.5
