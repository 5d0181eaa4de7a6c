"""Print the path of one working interpreter for each Python version asked for, if it is present.

    python tools/pythons.py 3.12 3.13

A launcher such as a pyenv shim may stand on the PATH without the version behind it being active,
so every candidate is started once, and pyenv, where there is one, is asked for the versions it has.
"""

import os
import shutil
import subprocess
import sys

ASK = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2], sys.executable)"


def ask(command: str, pyenv_version: str | None = None) -> tuple[str, str] | None:
    """Returns (version, path of the interpreter), or None where the command does not run."""
    extra = {} if pyenv_version is None else {"PYENV_VERSION": pyenv_version}
    try:
        answer = subprocess.run(
            [command, "-c", ASK], env=os.environ | extra, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    version, _, path = answer.stdout.strip().partition(" ")
    return version, path


def pyenv_versions(wanted: str) -> list[str]:
    """The installed pyenv versions of one minor version, such as ["3.12.1"]."""
    if shutil.which("pyenv") is None:
        return []
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True)
    return [name for name in listed.stdout.split() if name.startswith(wanted + ".")]


def find(wanted: str) -> str | None:
    """The path of an interpreter of that minor version, or None."""
    command = f"python{wanted}"
    candidates = [ask(command), *(ask(command, name) for name in pyenv_versions(wanted))]
    return next((found[1] for found in candidates if found and found[0] == wanted), None)


if __name__ == "__main__":
    for version in sys.argv[1:]:
        path = find(version)
        if path is None:
            print(f"python {version}: not present, skipped", file=sys.stderr)
        else:
            print(path)
