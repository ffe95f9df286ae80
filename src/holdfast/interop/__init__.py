"""Single pieces of holdfast for people who keep their own Transformers or TRL script.

Selection (`select`), suites asked while training (`suite`, `SuiteCallback`), demonstrations and questions of an
environment as rows, rewards for GRPO, environments that GRPO plays turn by turn. Objectives are in
`holdfast.objectives.dropin`. None of it imports TRL.
"""

from holdfast.interop.playing import environment_factory, episode_reward
from holdfast.interop.rewards import reward_function
from holdfast.interop.rows import demonstrations, episodes, questions
from holdfast.interop.selecting import select
from holdfast.interop.suite_callback import SuiteCallback, suite

__all__ = [
    "SuiteCallback",
    "demonstrations",
    "environment_factory",
    "episode_reward",
    "episodes",
    "questions",
    "reward_function",
    "select",
    "suite",
]
