"""What dfdaemon is told and what it can do besides serving; ``cli/dfdaemon.py`` is the program."""
