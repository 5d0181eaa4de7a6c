"""The main job: learn a world model of an environment, and report how good its futures are."""

from .calibrate import calibrate as calibrate
from .config import LearnConfig as LearnConfig
from .dream import Dream as Dream
from .dream import dream as dream
from .dream import save_dream as save_dream
from .drift import drift as drift
from .job import learn as learn
from .page import write_report as write_report
from .run import Run as Run
from .worlds import describe_worlds as describe_worlds
