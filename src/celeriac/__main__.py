"""``python -m celeriac``: the command line, for when the script is not on the path."""

from celeriac.cli import main

main()
