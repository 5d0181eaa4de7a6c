"""Planning: choose actions by imagining what they lead to."""

from .cem import Plan as Plan
from .cem import cem as cem
from .returns import discounted_return as discounted_return
