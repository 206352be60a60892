"""What runs where only some of the packages are installed."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from tests.repository import REPOSITORY


def python_without(packages: tuple[str, ...], program: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in an interpreter in which importing one of `packages` fails as if it were not installed."""
    blocked = f"""\
        import sys
        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {packages!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        sys.meta_path.insert(0, Blocked())
        """
    program = textwrap.dedent(blocked) + program
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def command(*arguments: str) -> str:
    return f"from anomaly.cli import main; sys.exit(main({list(arguments)!r}))"
