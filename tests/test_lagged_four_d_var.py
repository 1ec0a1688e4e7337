"""4DVar with overlapping windows, against the windows written out."""

import numpy as np
import pytest
from linear_problem import LinearProblem

import assimilation as da

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("all_of_window", [False, True])
@pytest.mark.parametrize("lag", [1, 3])
def test_a_cycle_is_the_windows_by_hand(lag, all_of_window):
    """In the space of the states of a linear model, with least squares."""
    linear = LinearProblem(1, mask=np.ones((9, 3)))
    method = da.LaggedFourDVar(
        da.StrongFourDVar.of(linear.problem, rtol=1e-13), lag, 1, all_of_window
    )
    found = da.cycle(method, linear.problem)
    B_root = np.linalg.inv(np.linalg.cholesky(linear.B))
    R_root = np.diag(1 / np.sqrt(np.diag(linear.R)))
    power = [np.linalg.matrix_power(linear.M, k) for k in range(lag + 1)]
    mean = linear.x_b
    for t in range(9):
        rows, right = [B_root], [B_root @ mean]
        for back in range(lag if all_of_window else 1):
            if t - back >= 0:
                rows.append(R_root @ linear.H @ power[lag - back])
                right.append(R_root @ linear.obs[t - back])
        x0 = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
        np.testing.assert_allclose(found.analyses.x0[t], power[lag] @ x0, atol=1e-7)
        mean = linear.M @ x0


def test_bad_settings_name_the_fix(untyped):
    problem = LinearProblem(1).problem
    var = da.StrongFourDVar.of(problem)
    with pytest.raises(TypeError, match="method is int: pass a StrongFourDVar"):
        da.LaggedFourDVar(3, 1, 1)
    with pytest.raises(ValueError, match="lag=0: pass a whole number, 1 or larger"):
        da.LaggedFourDVar(var, 0, 1)
    with pytest.raises(ValueError, match=r"method\.obs_op is None"):
        da.cycle(da.LaggedFourDVar(da.StrongFourDVar.of(problem, obs_op=None), 1, 1), problem)
    with pytest.raises(ValueError, match="pass windows with one observed time"):
        da.cycle(da.LaggedFourDVar(var, 1, 1), problem, n_steps=3)
