"""Single pieces of holdfast for people who keep their own Transformers or TRL script.

Selection (`select`), suites asked while training (`suite`, `SuiteCallback`), demonstrations and questions of an
environment as rows, rewards for GRPO. Objectives are in `holdfast.objectives.dropin`. None of it imports TRL.
"""

from holdfast.interop.rewards import reward_function
from holdfast.interop.rows import demonstrations, questions
from holdfast.interop.selecting import select
from holdfast.interop.suite_callback import SuiteCallback, suite

__all__ = ["SuiteCallback", "demonstrations", "questions", "reward_function", "select", "suite"]
