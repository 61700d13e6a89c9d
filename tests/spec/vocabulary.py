"""The words of the specifications: builders of worlds, the core's values, and what a round decides.

Specifications import all of it with one line, so that each begins with its first sentence.
"""

from tests.builders import *

from stockpot.api.chain import ChainHead
from stockpot.api.conditions import ConditionType, Reason
from stockpot.api.omissions import Omission
from stockpot.core.actions import *
from stockpot.core.blocker import Blocker
from stockpot.core.checks import Assessment
from stockpot.core.digests import digest_of_bytes
from stockpot.core.plan import check, plan
from stockpot.core.recipe import Ingredient, Recipe, former_of
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.render import render
from stockpot.core.report import report_of
from stockpot.core.revision import Epoch, Promotion
from stockpot.core.run_starts import *
from stockpot.core.runs import Failure, Run, StartupBlocker, TrainingProgress
from stockpot.core.servers import ServerGrant
from stockpot.core.shard import Comparison, FoundRecords
from stockpot.core.soup import LastRescan
from stockpot.core.stages import Stage
from stockpot.core.unlearning_checks import missing
from stockpot.core.unlearning_target import PastTraining, UnlearningTarget
from stockpot.core.weighting import SoupMember, UnusablePlugin
from stockpot.core.world import World
from stockpot.errors import ExitCode
