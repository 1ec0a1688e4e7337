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
from assimilation.calibration import (
    RankHistogram,
    coverage,
    crps,
    crps_gaussian,
    rank_histogram,
    ranks,
    spread_error_ratio,
)
from assimilation.climatology import Climatology, Ring, climatology, spun_up
from assimilation.covariances import EachTime, LowRank, dense, scaled, scaled_identity, square_root
from assimilation.cycling import Cycle, cycle
from assimilation.generators import (
    climatology_l63,
    climatology_l96,
    climatology_l96_2l,
    generate_l96_2l_problem,
    generate_l96_problem,
    generate_problem,
)
from assimilation.methods.amortized_flow import FlowHead
from assimilation.methods.amortized_heads import Gaussian, GaussianHead, RegressionHead
from assimilation.methods.amortized_posterior import (
    AmortizedPosterior,
    MLPObsEncoder,
    RingObsEncoder,
)
from assimilation.methods.ensemble_of_four_d_vars import (
    EnsembleOfFourDVars,
    Members,
    laplace_covariance,
)
from assimilation.methods.fourdvarnet import FourDVarNet1D
from assimilation.methods.incremental_four_d_var import IncrementalFourDVar
from assimilation.methods.learned_first_guess import LearnedFirstGuess
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
from assimilation.normalisation import Normalisation
from assimilation.observations import Batch1D, LinearObs, NonlinearObs
from assimilation.parameterisation import Parameterisation, parameterise
from assimilation.problems import Problem, assim_batch
from assimilation.ring_covariance import RingCovariance, ring_taper
from assimilation.solvers import Diagnostics
from assimilation.training import Trained, amortized_train_step, train, train_step
from assimilation.training_cache import cached_training
from assimilation.training_data import TrainingData, WindowPool, ring_of
from assimilation.trajectories import assemble_full_trajectory, forced_trajectory

__all__ = [
    "AmortizedPosterior",
    "Batch1D",
    "Climatology",
    "Cycle",
    "Diagnostics",
    "EachTime",
    "EnsembleOfFourDVars",
    "FlowHead",
    "FourDVarNet1D",
    "Gaussian",
    "GaussianHead",
    "IncrementalFourDVar",
    "LearnedFirstGuess",
    "LinearObs",
    "Lorenz63Forward",
    "Lorenz96Forward",
    "Lorenz96TwoLevelForward",
    "LowRank",
    "MLPObsEncoder",
    "Members",
    "MethodResult",
    "NonlinearObs",
    "Normalisation",
    "OptimalInterpolation",
    "Parameterisation",
    "ParameterisedLorenz96Forward",
    "Problem",
    "RankHistogram",
    "RegressionHead",
    "Ring",
    "RingCovariance",
    "RingObsEncoder",
    "StrongFourDVar",
    "SweepResult",
    "ThreeDVar",
    "Trained",
    "TrainingData",
    "WeakFourDVar",
    "WindowPool",
    "amortized_train_step",
    "assemble_full_trajectory",
    "assim_batch",
    "cached_training",
    "check",
    "climatology",
    "climatology_l63",
    "climatology_l96",
    "climatology_l96_2l",
    "compare",
    "coverage",
    "crps",
    "crps_gaussian",
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
    "rank_histogram",
    "ranks",
    "ring_of",
    "ring_taper",
    "rmse",
    "run_method",
    "scaled",
    "scaled_identity",
    "spread_error_ratio",
    "spun_up",
    "square_root",
    "sweep",
    "train",
    "train_step",
    "valid_time",
]
