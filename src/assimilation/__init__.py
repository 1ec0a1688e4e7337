"""Data assimilation in JAX: problem, batch, method, analysis, trajectory, result."""

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
from assimilation.covariances import EachTime, LowRank, dense, scaled_identity, square_root
from assimilation.methods.amortized_flow import FlowHead
from assimilation.methods.amortized_heads import Gaussian, GaussianHead, RegressionHead
from assimilation.methods.amortized_posterior import (
    AmortizedPosterior,
    MLPObsEncoder,
    RingObsEncoder,
)
from assimilation.methods.fourdvarnet import FourDVarNet1D
from assimilation.methods.learned_first_guess import LearnedFirstGuess
from assimilation.methods.optimal_interpolation import OptimalInterpolation
from assimilation.methods.strong_four_d_var import StrongFourDVar
from assimilation.methods.three_d_var import ThreeDVar
from assimilation.metrics import rmse, valid_time
from assimilation.models.integrate import free_forecast
from assimilation.models.lorenz63 import Lorenz63Forward
from assimilation.models.lorenz96 import Lorenz96Forward
from assimilation.models.lorenz96_two_level import Lorenz96TwoLevelForward
from assimilation.normalisation import Normalisation
from assimilation.observations import Batch1D, LinearObs, NonlinearObs
from assimilation.problems import (
    Problem,
    assim_batch,
    climatology_l63,
    climatology_l96,
    climatology_l96_2l,
    generate_l96_2l_problem,
    generate_l96_problem,
    generate_problem,
)
from assimilation.solvers import Diagnostics
from assimilation.training import Trained, amortized_train_step, train, train_step
from assimilation.training_cache import cached_training
from assimilation.training_data import TrainingData, WindowPool, ring_of
from assimilation.trajectories import assemble_full_trajectory, forced_trajectory

__all__ = [
    "AmortizedPosterior",
    "Batch1D",
    "Climatology",
    "Diagnostics",
    "EachTime",
    "FlowHead",
    "FourDVarNet1D",
    "Gaussian",
    "GaussianHead",
    "LearnedFirstGuess",
    "LinearObs",
    "Lorenz63Forward",
    "Lorenz96Forward",
    "Lorenz96TwoLevelForward",
    "LowRank",
    "MLPObsEncoder",
    "MethodResult",
    "NonlinearObs",
    "Normalisation",
    "OptimalInterpolation",
    "Problem",
    "RankHistogram",
    "RegressionHead",
    "Ring",
    "RingObsEncoder",
    "StrongFourDVar",
    "SweepResult",
    "ThreeDVar",
    "Trained",
    "TrainingData",
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
    "dense",
    "forced_trajectory",
    "free_forecast",
    "generate_l96_2l_problem",
    "generate_l96_problem",
    "generate_problem",
    "glue",
    "mean_interval",
    "rank_histogram",
    "ranks",
    "ring_of",
    "rmse",
    "run_method",
    "scaled_identity",
    "spread_error_ratio",
    "spun_up",
    "square_root",
    "sweep",
    "train",
    "train_step",
    "valid_time",
]
