"""Data assimilation in JAX: problem, batch, method, analysis, trajectory, result."""

from assimilation.book import check, glue, self_check, verdict
from assimilation.covariances.free_runs import Climatology, climatology
from assimilation.covariances.hybrid import HybridCovariance
from assimilation.covariances.localisation import Localisation, gaspari_cohn
from assimilation.covariances.nmc import forecast_differences
from assimilation.covariances.ring import Ring
from assimilation.covariances.ring_covariance import RingCovariance
from assimilation.covariances.roots import square_root
from assimilation.covariances.structured import EachTime, LowRank, dense, scaled, scaled_identity
from assimilation.experiments.cycling import Cyclable, Cycle, cycle
from assimilation.experiments.exact_posterior import (
    Chains,
    ExactPosterior,
    exact_posterior,
    long_chains,
)
from assimilation.experiments.generators import (
    climatology_l63,
    climatology_l96,
    climatology_l96_2l,
    generate_l96_2l_problem,
    generate_l96_problem,
    generate_problem,
)
from assimilation.experiments.published import (
    Agreement,
    agreement,
    cycled_rmse,
    lorenz63_sakov2012,
    lorenz96_bocquet2013,
    lorenz96_sakov2008,
    lorenz96_sakov2012,
    two_level_wilks2005,
)
from assimilation.experiments.results import MethodResult, SweepResult, compare, mean_interval
from assimilation.experiments.running import assemble_full_trajectory, run_method, sweep
from assimilation.experiments.scores import (
    RankHistogram,
    coverage,
    crps,
    energy_score,
    rank_histogram,
    ranks,
    rmse,
    spread_error_ratio,
    valid_time,
)
from assimilation.experiments.twins import Twin, twin
from assimilation.learned.amortized import (
    AmortizedConfig,
    AmortizedPosterior,
    MLPObsEncoder,
    RingObsEncoder,
)
from assimilation.learned.cache import cached_training
from assimilation.learned.data import TrainingData, WindowPool
from assimilation.learned.flow import FlowHead
from assimilation.learned.fourdvarnet import FourDVarNet1D
from assimilation.learned.heads import Gaussian, GaussianHead, RegressionHead
from assimilation.learned.normalisation import Normalisation
from assimilation.learned.step import amortized_train_step, train_step
from assimilation.learned.training import Trained, train
from assimilation.methods.adaptive_inflation import AdaptiveInflation
from assimilation.methods.analysis import Analysis, Diagnostics
from assimilation.methods.ensemble import EnsembleOfFourDVars, laplace_covariance
from assimilation.methods.ensemble_filter import FilterDiagnostics, MemberFilter, Members
from assimilation.methods.ensemble_kalman import ETKF, DEnKF, EnKF
from assimilation.methods.finite_size import EnKFN
from assimilation.methods.four_d_var import StrongFourDVar
from assimilation.methods.hybrid_four_d_var import HybridFourDVar
from assimilation.methods.ienks import IEnKS
from assimilation.methods.incremental_four_d_var import IncrementalFourDVar
from assimilation.methods.kalman import KalmanFilter
from assimilation.methods.lagged_four_d_var import LaggedFourDVar
from assimilation.methods.letkf import LETKF
from assimilation.methods.optimal_interpolation import OptimalInterpolation
from assimilation.methods.particles import BootstrapParticleFilter, OptimalProposalFilter
from assimilation.methods.three_d_var import ThreeDVar
from assimilation.methods.weak_four_d_var import WeakFourDVar
from assimilation.models.augmented import Augmented
from assimilation.models.integrate import (
    ForwardModel,
    forced_trajectory,
    free_forecast,
    rk4_step,
    spun_up,
)
from assimilation.models.lorenz63 import Lorenz63Forward
from assimilation.models.lorenz96 import Lorenz96Forward
from assimilation.models.lorenz96_parameterised import ParameterisedLorenz96Forward
from assimilation.models.lorenz96_two_level import Lorenz96TwoLevelForward
from assimilation.observations.batch import Batch1D
from assimilation.observations.operators import LinearObs, NonlinearObs
from assimilation.observations.window import Observations
from assimilation.problems import Background, Problem, assim_batch
