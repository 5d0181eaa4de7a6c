"""Training: fit a model to data with a loss; checkpoints, metrics, divergence."""

from .errors import TrainingDiverged as TrainingDiverged
from .fit import Fitted as Fitted
from .fit import default_optimizer as default_optimizer
from .fit import fit as fit
from .loggers import JsonlLogger as JsonlLogger
from .loggers import Logger as Logger
from .loggers import TensorBoardLogger as TensorBoardLogger
from .losses import Loss as Loss
from .losses import negative_log_likelihood as negative_log_likelihood
from .losses import rollout_energy as rollout_energy
from .losses import rollout_likelihood as rollout_likelihood
from .losses import smoothed_likelihood as smoothed_likelihood
from .trainable import partition_trainable as partition_trainable
