"""What holds for every test and every child process of one."""

from __future__ import annotations

import os
import signal

# Every engine recounts its invariants after each call.
os.environ["DAMSELFLY_CHECK"] = "1"

# A shell starts background jobs deaf to Ctrl-C, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
