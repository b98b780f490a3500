"""Every engine in every test recounts its invariants after each call, in child processes too."""

from __future__ import annotations

import os

os.environ["DAMSELFLY_CHECK"] = "1"
