"""Training: fit a model to data with a loss; checkpoints, metrics, divergence."""

from .errors import TrainingDiverged as TrainingDiverged
from .expectations import Expectation as Expectation
from .expectations import leave_one_out as leave_one_out
from .expectations import straight_through as straight_through
from .fit import Fitted as Fitted
from .fit import default_optimizer as default_optimizer
from .fit import fit as fit
from .kl import Divergence as Divergence
from .kl import balanced_kl as balanced_kl
from .kl import free_bits as free_bits
from .kl import plain_kl as plain_kl
from .kl import split_kl as split_kl
from .latent_losses import negative_elbo as negative_elbo
from .loggers import JsonlLogger as JsonlLogger
from .loggers import Logger as Logger
from .loggers import TensorBoardLogger as TensorBoardLogger
from .losses import Loss as Loss
from .losses import negative_log_likelihood as negative_log_likelihood
from .losses import rollout_energy as rollout_energy
from .losses import rollout_likelihood as rollout_likelihood
from .losses import smoothed_likelihood as smoothed_likelihood
from .rssm_loss import SequenceLoss as SequenceLoss
from .rssm_loss import rssm_loss as rssm_loss
from .trainable import partition_trainable as partition_trainable
