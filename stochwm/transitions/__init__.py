"""p(s' | s, a): transition kernels that return distributions."""

from .base import AbstractConstant as AbstractConstant
from .base import AbstractTransition as AbstractTransition
from .box_mixture_density import BoxMixtureDensity as BoxMixtureDensity
from .categorical import AutoregressiveCategorical as AutoregressiveCategorical
from .categorical import Categorical as Categorical
from .clipped import Bounds as Bounds
from .clipped import Clipped as Clipped
from .discrete_latent import DiscreteLatent as DiscreteLatent
from .ensemble import Ensemble as Ensemble
from .gaussian import FullGaussian as FullGaussian
from .gaussian import Gaussian as Gaussian
from .latent_bounds import LatentView as LatentView
from .latent_bounds import elbo as elbo
from .latent_bounds import importance_weighted_bound as importance_weighted_bound
from .latent_bounds import view_latents as view_latents
from .mixture_density import FullMixtureDensity as FullMixtureDensity
from .mixture_density import MixtureDensity as MixtureDensity
from .moment_matched import MomentMatched as MomentMatched
from .moment_matched import moment_matched as moment_matched
from .pinned import Pinned as Pinned
from .pinned import Pins as Pins
from .standardised import Standardised as Standardised
from .standardised import Standardiser as Standardiser
