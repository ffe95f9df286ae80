"""holdfast: fine-tune a language model on your task and keep what it already knew.

Import from the parts: ``holdfast.run``, ``holdfast.selection``, ``holdfast.objectives``, ``holdfast.environments``, …
Importing this package loads nothing heavy and changes nothing.
"""

__version__ = "0.1.0"
