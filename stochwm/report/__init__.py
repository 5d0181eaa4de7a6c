"""Figures, and the self-contained page that holds them. Needs the extra `stochwm[plots]`."""

from .agent_history import agent_history as agent_history
from .by_horizon import coverage_by_horizon as coverage_by_horizon
from .dream_video import dream_video as dream_video
from .filmstrip import filmstrip as filmstrip
from .futures import fan_chart as fan_chart
from .histograms import pit_histograms as pit_histograms
from .histograms import rank_histograms as rank_histograms
from .html import Section as Section
from .html import write_html as write_html
from .joint import joint_regions as joint_regions
from .one_step import one_step_scatter as one_step_scatter
from .outcomes import outcome_bars as outcome_bars
from .outcomes import outcome_fan as outcome_fan
from .pictures import write_gif as write_gif
from .pictures import write_png as write_png
from .reliability import reliability_diagram as reliability_diagram
from .roc import roc_curves as roc_curves
from .series import learning_curves as learning_curves
from .series import score_by_horizon as score_by_horizon
from .style import colours as colours
from .style import house_style as house_style
from .style import new_figure as new_figure
from .tables import Table as Table
from .trusted import trusted_horizon_histogram as trusted_horizon_histogram
from .uncertainty import uncertainty_ribbons as uncertainty_ribbons
