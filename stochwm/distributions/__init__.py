"""What a prediction is: distributions over next states."""

from .autoregressive import AutoregressiveBins as AutoregressiveBins
from .base import AbstractDistribution as AbstractDistribution
from .base import AbstractSampler as AbstractSampler
from .base import Modes as Modes
from .box_mixture import BoxMixture as BoxMixture
from .categorical import OneHotCategoricals as OneHotCategoricals
from .censored import Censored as Censored
from .chained_categoricals import ChainedCategoricals as ChainedCategoricals
from .deterministic import Deterministic as Deterministic
from .energy import energy_score as energy_score
from .joint import Joint as Joint
from .latent_sampler import LatentSampler as LatentSampler
from .latent_state import LatentState as LatentState
from .latent_state import LatentStateDistribution as LatentStateDistribution
from .mixture import AbstractMixture as AbstractMixture
from .mixture import MixtureNoise as MixtureNoise
from .normal import DiagNormal as DiagNormal
from .normal import FullNormal as FullNormal
from .normal_mixture import DiagNormalMixture as DiagNormalMixture
from .normal_mixture import FullNormalMixture as FullNormalMixture
from .symlog_normal import SymlogNormal as SymlogNormal
from .symlog_normal import symexp as symexp
from .symlog_normal import symlog as symlog
from .uniform_box import UniformBox as UniformBox
from .uniform_mixture import UniformMixture as UniformMixture
from .unimix import unimix as unimix
