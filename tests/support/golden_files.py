"""The golden messages and results, and the modules beside them that made them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent.parent / "unit" / "golden"
MESSAGES = sorted(path.stem for path in GOLDEN.glob("*.message"))
RESULTS = sorted(path.stem for path in GOLDEN.glob("*.result"))


def load_make(name: str = "make") -> Any:
    """``golden/NAME.py`` as a module."""
    spec = importlib.util.spec_from_file_location(f"golden_{name}", GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def wire(name: str) -> bytes:
    return (GOLDEN / f"{name}.message").read_bytes()


def body(name: str) -> bytes:
    return (GOLDEN / f"{name}.result").read_bytes()


def expected(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
