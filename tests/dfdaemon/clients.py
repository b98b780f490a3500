"""What a test says where a program that it needs is missing."""

from __future__ import annotations

import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing, and name it."""
    missing = " ".join([name for name in programs if shutil.which(name) is None])
    return pytest.mark.skipif(bool(missing), reason=f"missing; apt-get install {missing}")
