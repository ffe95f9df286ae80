"""``python -m holdfast.cli``: the command line without its installed script."""

from holdfast.cli import main

main()
