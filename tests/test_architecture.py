"""The shape of the house: which way imports go, and what the light commands never load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_imports_go_one_way(tmp_path):
    """The contracts stand in pyproject.toml."""
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    arguments = ["--config", "pyproject.toml", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", lint, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["chainwatch.cli", "chainwatch.client"])
def test_light_modules_load_nothing_heavy(module):
    """`--help` and `tail` must not wait for a chain library, a database or a model of the configuration."""
    heavy = "{'web3', 'eth_abi', 'eth_utils', 'pydantic', 'sqlite3', 'structlog'}"
    look = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_command_line_alone_loads_no_server():
    look = "import sys, chainwatch.cli; print(*sorted({'aiohttp', 'asyncio', 'rich', 'msgspec'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
