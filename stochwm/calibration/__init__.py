"""Is the predicted distribution right? Scores against held-out episodes and known laws."""

from .bootstrap import episode_interval as episode_interval
from .evaluate import choose_starts as choose_starts
from .evaluate import evaluate as evaluate
from .evaluate import evaluate_density as evaluate_density
from .evaluate import open_loop as open_loop
from .modes import ModeReport as ModeReport
from .modes import mode_report as mode_report
from .persistence import Persistence as Persistence
from .scorecard import Score as Score
from .scorecard import Scorecard as Scorecard
from .scores import covered as covered
from .scores import crps as crps
from .scores import energy_score as energy_score
