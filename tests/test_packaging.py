"""What a stranger's installation meets: a light import, one version, hashed requirements."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

from stochwm.distributions import Modes

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

# Each costs a fresh process between 0.1 s and 3 s, and no one needs all of them.
HEAVY = ["distrax", "tensorflow_probability", "numpyro", "matplotlib", "scipy.stats"]
HEAVY += ["minari", "h5py", "mujoco", "tensorboardX", "pygame", "tyro", "IPython"]


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def loaded_after(statement: str) -> list[str]:
    """Heavy modules that a fresh process has loaded after the statement."""
    code = f"""
{statement}
import json, sys
print(json.dumps([name for name in {HEAVY} if name in sys.modules]))
"""
    done = run("-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def pins(path: Path) -> dict[str, str]:
    """Requirement with its marker -> version, such as "jax ; python_full_version < '3.12'"."""
    found = re.findall(r"^([a-z0-9.-]+)==(\S+)( ;[^\\]*)?", path.read_text("utf-8"), re.MULTILINE)
    return {(name + marker).strip(): version for name, version, marker in found}


def test_import_is_light():
    assert loaded_after("import stochwm") == []


def test_light_import_test_can_fail():
    assert "scipy.stats" in loaded_after("import scipy.stats")


def test_version_is_the_projects():
    assert importlib.import_module("stochwm").__version__ == PROJECT["version"]


def test_console_script_points_to_a_function():
    module, _, name = PROJECT["scripts"]["stochwm"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_module_answers_help():
    done = run("-m", "stochwm", "--help")
    assert done.returncode == 0, done.stderr
    for verb in ["learn", "demo", "imagine", "report", "worlds"]:
        assert re.search(rf"\b{verb}\b", done.stdout), f"{verb!r} is missing from:\n{done.stdout}"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_requirements_are_pinned_hashed_and_without_addresses(path):
    text = path.read_text("utf-8")
    assert "://" not in text
    assert "--index" not in text
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    unhashed = [b.splitlines()[0] for b in blocks if "==" not in b or "--hash=sha256:" not in b]
    assert not unhashed


@pytest.mark.parametrize("subset", ["demo", "test"])
def test_smaller_requirements_pin_what_the_largest_pins(subset):
    largest = pins(ROOT / "requirements" / "dev.txt").items()
    assert pins(ROOT / "requirements" / f"{subset}.txt").items() <= largest


def test_lower_bounds_are_the_versions_that_are_tried():
    tried = {key.split(" ")[0]: [] for key in pins(ROOT / "requirements" / "lowest.txt")}
    for key, version in pins(ROOT / "requirements" / "lowest.txt").items():
        tried[key.split(" ")[0]].append(version)
    for requirement in PROJECT["dependencies"]:
        name, _, bound = requirement.partition(">=")
        versions = [re.sub(r"(\.0)*$", "", version) for version in tried[name.lower()]]
        assert re.sub(r"(\.0)*$", "", bound) in versions, (
            f"{requirement}: make lock tried {versions}"
        )


def test_shapes_are_checked_during_tests():
    vector = jnp.zeros(3)
    with pytest.raises(jaxtyping.TypeCheckError, match="loc"):
        Modes(loc=vector, weight=vector, log_density=vector)


def test_compiled_programs_are_kept():
    if not jax.config.jax_enable_compilation_cache:
        pytest.skip("run without the compilation cache")
    jax.jit(lambda x: jnp.sin(x) * 0.123)(jnp.zeros(7)).block_until_ready()
    assert any(Path(jax.config.jax_compilation_cache_dir).iterdir())
