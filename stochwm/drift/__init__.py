"""Until when can this imagination be trusted? How far the members of an ensemble disagree."""

from .cdf_disagreement import cdf_disagreement as cdf_disagreement
from .decompose import Decomposition as Decomposition
from .decompose import decompose as decompose
from .energy_distance import energy_distance as energy_distance
from .information import InformationSplit as InformationSplit
from .information import MutualInformation as MutualInformation
from .information import mutual_information_estimate as mutual_information_estimate
from .information import split_information as split_information
from .information_bounds import mutual_information_bounds as mutual_information_bounds
from .information_loss import information_loss as information_loss
from .jensen_shannon import geometric_jensen_shannon as geometric_jensen_shannon
from .members import draw_clouds as draw_clouds
from .rollouts import by_member as by_member
from .rollouts import disagreement as disagreement
from .rollouts import disagreement_along as disagreement_along
from .variance import VarianceSplit as VarianceSplit
from .variance import epistemic_variance as epistemic_variance
from .variance import split_variance as split_variance
from .variance import total_variance as total_variance
from .wrappers import InUnits as InUnits
from .wrappers import OnDraws as OnDraws
