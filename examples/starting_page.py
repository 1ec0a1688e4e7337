"""The two-level Lorenz-96 benchmark: six methods, a window, and a forecast after it.

Eight sections: the problem, classical methods, learned methods, errors of slow and fast
variables, a table, slow variables in space and time, error in time, and what that says.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import matplotlib.pyplot as plt
import optax

import assimilation as da

# The sizes of the full benchmark; a test takes smaller ones.
FULL = {"three": 500, "strong": 2000, "weak": 1000, "pairs": (48, 128), "training": (500, 600)}


def classical(prob, batch, fwd, steps):
    """Section 2: four methods, from the parts of the problem."""
    H_full = lx.IdentityLinearOperator(jax.ShapeDtypeStruct(prob.prior_mean.shape, jnp.float32))
    H_state = lx.IdentityLinearOperator(jax.ShapeDtypeStruct((prob.D,), jnp.float32))
    whole = {
        "obs_op": da.LinearObs(H_mat=H_full),
        "prior_mean": prob.prior_mean,
        "prior_cov_op": prob.B_op,
        "obs_cov_op": prob.R_op,
    }
    state = {
        "forward": fwd,
        "obs_op": da.LinearObs(H_mat=H_state),
        "prior_mean": prob.prior_mean_state,
        "prior_cov_op": prob.B_op_state,
        "obs_cov_op": prob.R_op_state,
    }
    oi = da.OptimalInterpolation(**whole)
    three = da.ThreeDVar(**whole, max_steps=steps["three"])
    strong = da.StrongFourDVar(**state, max_steps=steps["strong"])
    weak = da.WeakFourDVar(**state, model_err_cov_op=prob.B_op_state, max_steps=steps["weak"])

    def weak_run():
        x0_b, etas_b = weak(batch)
        return da.assemble_full_trajectory(x0_b[0], prob, fwd, etas=etas_b[0])

    runs = {
        "oi": lambda: da.assemble_full_trajectory(oi(batch)[0], prob, fwd),
        "3dvar": lambda: da.assemble_full_trajectory(three(batch)[0], prob, fwd),
        "strong_4dvar": lambda: da.assemble_full_trajectory(strong(batch)[0], prob, fwd),
        "weak_4dvar": weak_run,
    }
    return [da.run_method(name, fn, prob) for name, fn in runs.items()]


def trained(model, step, batch, opt, n_steps):
    """A model after `n_steps` steps of training, and how long they took."""
    opt_state = opt.init(eqx.filter(model, eqx.is_array))
    started = time.perf_counter()
    for _ in range(n_steps):
        model, opt_state, _ = step(model, batch, opt, opt_state)
    return model, time.perf_counter() - started


def learned(prob, batch, fwd, steps, settings):
    """Section 3: two networks, trained on simulated pairs."""

    def make_pair(key):
        p = da.generate_l96_2l_problem(key=key, **settings)
        return p.obs, p.mask, p.truth[: prob.T_assim_plus_1]

    def pairs(seed, n):
        obs, mask, truth = jax.vmap(make_pair)(jax.random.split(jax.random.PRNGKey(seed), n))
        return da.Batch1D(input=obs, mask=mask, target=truth)

    net = da.FourDVarNet1D(
        state_dim=prob.D,
        n_time=prob.T_assim_plus_1,
        latent_dim=48,
        hidden_dim=96,
        n_solver_steps=8,
        key=jax.random.PRNGKey(0),
    )
    k_enc, k_head = jax.random.split(jax.random.PRNGKey(0))
    amortized = da.AmortizedPosterior(
        encoder=da.MLPObsEncoder(
            input_size=prob.T_assim_plus_1 * prob.D,
            context_dim=128,
            hidden_dim=384,
            depth=2,
            key=k_enc,
        ),
        head=da.RegressionHead(
            context_dim=128,
            state_shape=(prob.T_assim_plus_1, prob.D),
            hidden_dim=384,
            depth=2,
            key=k_head,
        ),
        config=da.AmortizedConfig(head_type="regression"),
    )
    (n_net, n_amortized), (net_steps, amortized_steps) = steps["pairs"], steps["training"]
    net, net_s = trained(net, da.train_step, pairs(1, n_net), optax.adam(3e-3), net_steps)
    amortized, amortized_s = trained(
        amortized,
        da.amortized_train_step,
        pairs(2, n_amortized),
        optax.adam(2e-3),
        amortized_steps,
    )

    def run(name, model, seconds):
        def fn():
            return da.assemble_full_trajectory(model(batch)[0], prob, fwd)

        return da.run_method(name, fn, prob, train_time_s=seconds)

    return [run("fourdvarnet", net, net_s), run("amortized", amortized, amortized_s)]


def hovmoellers(prob, results):
    """Section 6: the slow variables of truth and methods, in space and time."""
    fig, axs = plt.subplots(
        1 + len(results), 1, figsize=(11, 1.4 * (1 + len(results))), sharex=True
    )
    vmax = float(jnp.max(jnp.abs(prob.truth[:, : prob.K])))
    kwargs = {"aspect": "auto", "cmap": "RdBu_r", "origin": "lower", "vmin": -vmax, "vmax": vmax}
    kwargs["extent"] = (0.0, prob.T_total * prob.dt, 0, prob.K)
    shown = [("truth", prob.truth), *((r.name, r.mean) for r in results)]
    for ax, (name, states) in zip(axs, shown, strict=True):
        ax.imshow(states[:, : prob.K].T, **kwargs)
        ax.axvline(prob.T_assim * prob.dt, color="yellow", lw=2)
        ax.set_ylabel(name)
    axs[-1].set_xlabel("time")
    return fig


def errors_in_time(prob, results):
    """Section 7: error against time."""
    fig, ax = plt.subplots(figsize=(11, 5))
    ax.axvspan(0.0, prob.T_assim * prob.dt, color="yellow", alpha=0.2, label="window")
    for r in results:
        ax.plot(jnp.arange(prob.T_total_plus_1) * prob.dt, r.rmse_trace, label=r.name)
    ax.set(xlabel="time", ylabel="RMSE", yscale="log")
    ax.legend(loc="best", fontsize=9, ncol=2)
    return fig


def main(steps=FULL, **settings):
    """All sections; `settings` are those of the problem. Returns the table and figures."""
    prob = da.generate_l96_2l_problem(key=jax.random.PRNGKey(0), **settings)
    batch = da.assim_batch(prob)
    fwd = da.Lorenz96TwoLevelForward(
        K=prob.K, J=prob.J, F=prob.F, h=prob.h, c=prob.c, b=prob.b, dt=prob.dt
    )
    results = classical(prob, batch, fwd, steps) + learned(prob, batch, fwd, steps, settings)
    for r in results:
        blocks = [slice(None, prob.K), slice(prob.K, None)]
        slow, fast = (float(da.rmse(r.mean[:, b], prob.truth[:, b])) for b in blocks)
        print(f"{r.name:14s} slow rmse={slow:6.3f}  fast rmse={fast:6.3f}")
    table = da.compare(*results).sort_values("rmse_forecast")
    print(table.to_string())
    return table, hovmoellers(prob, results), errors_in_time(prob, results)


if __name__ == "__main__":
    main()
    plt.show()
