"""A state with the parameters of its model: the augmented model, and estimates with it."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import assimilation as da


def test_a_step_uses_the_parameters_that_the_state_carries():
    augmented = da.Augmented(da.Lorenz63Forward(), lambda m: (m.rho, m.beta))
    x = jnp.array([1.0, 2.0, 20.0])
    after = augmented.step(jnp.concatenate([x, jnp.array([30.0, 2.0])]), 0.01)
    np.testing.assert_allclose(
        after[:3], da.Lorenz63Forward(rho=30.0, beta=2.0).step(x, 0.01), rtol=1e-6
    )
    np.testing.assert_array_equal(after[3:], [30.0, 2.0])
    np.testing.assert_allclose(augmented.parameters, [28.0, 8 / 3], rtol=1e-6)


def test_strong_four_d_var_finds_the_parameter_within_a_few_windows():
    """rho of Lorenz-63, 20 percent wrong at first, from windows of the state alone."""
    twin = da.generate_problem(key=jax.random.key(4), T_assim=149, T_total=150, obs_every=5)
    augmented = da.Augmented(da.Lorenz63Forward(rho=23.0), lambda m: (m.rho,))
    mean = jnp.concatenate([twin.prior_mean_state, augmented.parameters])
    B = jnp.zeros((4, 4)).at[:3, :3].set(twin.B_op_state.as_matrix()).at[3, 3].set(9.0)
    seen = twin.observations
    observations = da.Observations(
        seen.times, seen.values, da.LinearObs(jnp.eye(4)[:3]), 0.5, T_assim=seen.T_assim
    )
    problem = da.Problem(augmented, da.Background(mean, da.dense(B)), observations)
    method = da.StrongFourDVar.of(problem, n_starts=4)
    cycle = da.cycle(method, problem, n_steps=50)
    estimates = np.asarray(cycle.analyses.x0[:, 3])
    assert abs(mean[3] - 28.0) > 4
    assert abs(estimates[-1] - 28.0) < 0.5
    spread = da.laplace_covariance(method, observations, cycle.analyses.x0[0])
    assert 0 < spread[3, 3] < 9.0


@pytest.mark.parametrize(
    "where", [lambda m: m.rho, lambda m: (), lambda m: (jnp.ones(2),), lambda m: ("rho",)]
)
@pytest.mark.usefixtures("untyped")
def test_what_is_no_tuple_of_numbers_is_refused(where):
    with pytest.raises(TypeError, match=r"where picks .*: pass a function from a model to a tuple"):
        da.Augmented(da.Lorenz63Forward(), where)


@pytest.mark.usefixtures("untyped")
def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"forward is Identity.*: pass a forward model"):
        da.Augmented(
            lx.IdentityLinearOperator(jax.ShapeDtypeStruct((3,), jnp.float32)), lambda m: ()
        )
