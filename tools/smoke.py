"""Try an installed stochwm in a minute: import every module, then do the main job very small.

    python tools/smoke.py

The full tests run on one Python; this shows that another one, or other versions of the
dependencies, can import all of it, and can learn, imagine and report.
"""

import importlib
import pkgutil
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

LEARN = "learn stochwm/Fork-v0 --steps 400 --members 2 --components 2 --width 8 --updates 20"
SMALL = "--batch-size 32 --futures 20 --horizons 1 2"
WRITTEN = ["metrics.json", "metrics.csv", "report.html"]


def import_everything() -> int:
    import stochwm

    if Path(stochwm.__file__).is_relative_to(Path.cwd() / "stochwm"):
        raise SystemExit("stochwm came from the source folder: run python -P tools/smoke.py")
    names = [m.name for m in pkgutil.walk_packages(stochwm.__path__, "stochwm.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    return len(names)


def step_a_world() -> None:
    import gymnasium

    env = gymnasium.make("stochwm.envs:stochwm/Fork-v0")
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(3):
        env.step(env.action_space.sample())
    env.close()


def learn() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-P", "-m", "stochwm", *LEARN.split(), *SMALL.split()]
        done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        missing = [name for name in WRITTEN if not (out / name).is_file()]
        if missing:
            raise SystemExit(f"stochwm learn did not write {missing}")


if __name__ == "__main__":
    start = time.time()
    number = import_everything()
    step_a_world()
    learn()
    used = " ".join(f"{name} {version(name)}" for name in ["jax", "equinox", "gymnasium", "numpy"])
    print(
        f"smoke passed: Python {platform.python_version()}, {used}; {number} modules imported, "
        f"a world stepped, a model learned; {time.time() - start:.0f} s"
    )
