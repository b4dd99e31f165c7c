"""The benchmarks start as the Makefile starts them."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_peers_interpreter_may_be_named_from_the_folder_one_stands_in(tmp_path: Path) -> None:
    """The Makefile does; what runs it works elsewhere, so the name has to be made absolute."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"pools\.py --peers \$\(PEERS_VENV\)/bin/python", makefile)
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "pools.py", "--peers", "none/bin/python"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert f"no environment of the peers at {tmp_path}/none/bin/python" in done.stderr
