"""What must hold between nodes, whatever happens."""

from .checker import Call, Checker, Violation
from .watch import Checkers

__all__ = ["Call", "Checker", "Checkers", "Violation"]
