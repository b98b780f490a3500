"""How dfget starts: what it loads, and what it leaves alone."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.quick import no_collections
from damselfly.net.version import VERSION

from .dfget_support import DATA, PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from ..origin_server import OriginServer

UNUSED = {
    "argparse", "attr.validators", "base64", "cryptography", "ctypes", "ctypes.util",
    "email.message", "h11", "http.client", "http.cookiejar", "httpx", "idna", "importlib.metadata",
    "inspect", "msgspec.yaml", "pickle", "platform", "prometheus_client", "rich", "shutil", "simpy",
    "ssl", "subprocess", "tempfile", "textwrap", "tokenize", "tomlkit", "traceback", "trio._dtls",
    "typing_extensions", "yaml",
}  # fmt: skip
LOADED = """
import sys
from damselfly.cli.dfget import main
status = main()
print(*[name for name, module in sys.modules.items() if type(module).__name__ != "_Deferred"])
sys.exit(status)
"""


def test_a_download_through_a_supernode_loads_no_more_than_it_uses(
    origin: OriginServer, tmp_path: Path
) -> None:
    python = [sys.executable, "-P"]
    command = [*python, "-m", "damselfly.cli.supernode", "--home-dir", str(tmp_path / "sn")]
    command += ["--port", "0", "--download-port", "0", "--advertise-ip", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supernode:
        assert supernode.stdout is not None
        node = supernode.stdout.readline().split("control http://")[1].split()[0]
        command = [*python, "-c", LOADED, "-n", node]
        command += ["-u", origin.url("/f"), "-o", str(tmp_path / "f"), "--alivetime", "1s"]
        dfget = subprocess.run(
            [*command, "--home", str(tmp_path / "home")],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        supernode.terminate()
    assert (tmp_path / "f").read_bytes() == DATA
    loaded = set(dfget.stdout.splitlines()[-1].split())
    assert "damselfly.net.fetch" in loaded
    assert not loaded & UNUSED


def _printed(*lines: str) -> str:
    """Return what lines print that a new interpreter runs."""
    code = "\n".join(("from damselfly.cli.quick import deferred_modules", *lines))
    command = [sys.executable, "-P", "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    return done.stdout.strip()


def test_a_deferred_module_is_loaded_when_it_is_asked_for_something() -> None:
    printed = _printed(
        "with deferred_modules(): import ssl, inspect",
        "print(vars(ssl).get('CERT_NONE'), ssl.CERT_NONE.value, ssl.SSLContext.__name__)",
        "print(type(ssl) is type(inspect), inspect.isfunction(print), type(ssl) is type(inspect))",
        "from base64 import b64encode as bare",
        "with deferred_modules(): import base64",
        "print(base64.b64encode is bare)",
    )
    assert printed.splitlines() == ["None 0 SSLContext", "False False True", "True"]


def test_a_deferred_module_has_what_it_has_and_no_more() -> None:
    printed = _printed(
        "with deferred_modules(): import pickle",
        "print(hasattr(pickle, 'no_such_thing'), pickle.loads(pickle.dumps(1)))",
        "with deferred_modules():",
        "    try: import msgspec.no_such_module",
        "    except ImportError as error: print(error.name)",
    )
    assert printed.splitlines() == ["False 1", "msgspec.no_such_module"]


def test_stand_ins_go_when_the_imports_are_done() -> None:
    printed = _printed(
        "import sys",
        "with deferred_modules(): import trio, outcome",
        "print(sorted({'find_library'} & vars(sys.modules['ctypes.util']).keys()))",
        "import attr, ctypes, ctypes.util, inspect, platform, textwrap",
        "print(callable(ctypes.CDLL(None).getpid), ctypes.util.find_library('no such') is None)",
        "print(inspect.cleandoc('\\n  a\\n  b'), textwrap.dedent('  c'), platform.system())",
        "print(attr.validators.instance_of(int).type.__name__)",
        "async def nothing(): pass",
        "coroutine = nothing()",
        "print(inspect.iscoroutine(coroutine), inspect.iscoroutine(nothing))",
        "coroutine.close()",
        "try: outcome.Error('no error')",
        "except TypeError: print('checked')",
    )
    system = platform.system()
    assert printed.splitlines() == [
        "[]", "True True", "a", f"b c {system}", "int", "True False", "checked"
    ]  # fmt: skip


def test_what_is_made_at_the_start_is_not_searched_for_garbage() -> None:
    before = gc.get_freeze_count()
    try:
        with no_collections():
            assert not gc.isenabled()
            made = [[number] for number in range(100)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


def test_collections_go_on_after_a_start_that_fails() -> None:
    with pytest.raises(ValueError, match="a flag"), no_collections():
        raise ValueError("a flag")
    assert gc.isenabled()
    gc.unfreeze()


def test_the_version_is_that_of_the_installed_package() -> None:
    assert metadata.version("damselfly") == VERSION
