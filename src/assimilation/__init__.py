"""Data assimilation in JAX: problem, batch, method, analysis, trajectory, result."""

from assimilation.backgrounds import forecast_differences
from assimilation.benchmark import (
    MethodResult,
    SweepResult,
    compare,
    mean_interval,
    run_method,
    sweep,
)
from assimilation.book import check, glue
from assimilation.climatology import Climatology, Ring, climatology, spun_up
from assimilation.covariances import (
    EachTime,
    LowRank,
    dense,
    scaled,
    scaled_identity,
    square_root,
)
from assimilation.cycling import Cycle, cycle
from assimilation.generators import (
    climatology_l63,
    climatology_l96,
    climatology_l96_2l,
    generate_l96_2l_problem,
    generate_l96_problem,
    generate_problem,
)
from assimilation.methods.ensemble_of_four_d_vars import (
    EnsembleOfFourDVars,
    Members,
    laplace_covariance,
)
from assimilation.methods.incremental_four_d_var import IncrementalFourDVar
from assimilation.methods.optimal_interpolation import OptimalInterpolation
from assimilation.methods.strong_four_d_var import StrongFourDVar
from assimilation.methods.three_d_var import ThreeDVar
from assimilation.methods.weak_four_d_var import WeakFourDVar
from assimilation.metrics import rmse, valid_time
from assimilation.models.integrate import free_forecast
from assimilation.models.lorenz63 import Lorenz63Forward
from assimilation.models.lorenz96 import Lorenz96Forward
from assimilation.models.lorenz96_parameterised import ParameterisedLorenz96Forward
from assimilation.models.lorenz96_two_level import Lorenz96TwoLevelForward
from assimilation.observations import Batch1D, LinearObs, NonlinearObs
from assimilation.parameterisation import Parameterisation, parameterise
from assimilation.problems import Problem, assim_batch
from assimilation.ring_covariance import RingCovariance, ring_taper
from assimilation.solvers import Diagnostics
from assimilation.trajectories import assemble_full_trajectory, forced_trajectory

__all__ = [
    "Batch1D",
    "Climatology",
    "Cycle",
    "Diagnostics",
    "EachTime",
    "EnsembleOfFourDVars",
    "IncrementalFourDVar",
    "LinearObs",
    "Lorenz63Forward",
    "Lorenz96Forward",
    "Lorenz96TwoLevelForward",
    "LowRank",
    "Members",
    "MethodResult",
    "NonlinearObs",
    "OptimalInterpolation",
    "Parameterisation",
    "ParameterisedLorenz96Forward",
    "Problem",
    "Ring",
    "RingCovariance",
    "StrongFourDVar",
    "SweepResult",
    "ThreeDVar",
    "WeakFourDVar",
    "assemble_full_trajectory",
    "assim_batch",
    "check",
    "climatology",
    "climatology_l63",
    "climatology_l96",
    "climatology_l96_2l",
    "compare",
    "cycle",
    "dense",
    "forced_trajectory",
    "forecast_differences",
    "free_forecast",
    "generate_l96_2l_problem",
    "generate_l96_problem",
    "generate_problem",
    "glue",
    "laplace_covariance",
    "mean_interval",
    "parameterise",
    "ring_taper",
    "rmse",
    "run_method",
    "scaled",
    "scaled_identity",
    "spun_up",
    "square_root",
    "sweep",
    "valid_time",
]
