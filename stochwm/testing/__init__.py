"""Laws that every transition and world model keeps, for people who write their own."""

from .check import check_transition as check_transition
from .check import check_world_model as check_world_model
