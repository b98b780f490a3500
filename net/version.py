"""What this version of damselfly is called.

Written here rather than looked up in the installed package's metadata: that takes longer than a
dfget has for a small file.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
