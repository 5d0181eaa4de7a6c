"""The house keeps its shape: floors, abstract-or-final classes, tables of contents, no pickle.

Every rule is a function from source text to a list of complaints, so that the second half of this
file can hand it a small tree that breaks the rule, and see it complain.
"""

import ast
import dataclasses
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_LINES = 450

# Bottom to top. A room imports from itself and from the floors below, not from beside or above.
FLOORS = [
    ["_storage", "_devices", "_counts"],
    ["distributions"],
    ["transitions"],
    ["models"],
    ["_guard"],
    ["_rollout"],
    ["_propagation"],
    ["testing"],
    ["training", "data"],
    ["calibration"],
    ["drift"],
    ["report"],
    ["envs"],
    ["planning"],
    ["agents"],
    ["_learn"],
    ["_train"],
    ["cli"],
    ["__main__", "__init__"],
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
SERIALISERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


@dataclasses.dataclass
class Module:
    """One parsed file; `name` is dotted, without the package: "distributions.base"."""

    name: str
    source: str
    is_init: bool

    def __post_init__(self):
        self.tree = ast.parse(self.source)

    @property
    def room(self) -> str:
        return self.name.split(".")[0] if self.name else "__init__"

    @property
    def parts(self) -> list[str]:
        return self.name.split(".") if self.name else []


def read(files: dict[str, str]) -> dict[str, Module]:
    """{"distributions/base.py": source, ...} -> {"distributions.base": Module, ...}."""
    modules = {}
    for path, source in files.items():
        parts = path.removesuffix(".py").split("/")
        is_init = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_init else parts)
        modules[name] = Module(name, source, is_init)
    return modules


@functools.cache
def package() -> dict[str, Module]:
    folder = ROOT / "stochwm"
    paths = [p for p in sorted(folder.rglob("*.py")) if "__pycache__" not in p.parts]
    assert paths, f"no package at {folder}"
    return read({p.relative_to(folder).as_posix(): p.read_text("utf-8") for p in paths})


# --- imports ----------------------------------------------------------------------------------
def imported(module: Module, modules: dict[str, Module]) -> list[tuple[int, str]]:
    """(line, name inside the package) of every import, in functions and TYPE_CHECKING too."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found += [(node.lineno, n) for n in names if n.split(".")[0] == "stochwm"]
        elif isinstance(node, ast.ImportFrom):
            base = origin(module, node)
            if base is not None:
                joined = [".".join(filter(None, [base, alias.name])) for alias in node.names]
                rooms = modules.keys() | LEVEL.keys()
                found += [(node.lineno, n if n in rooms else base) for n in joined]
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            text = (
                node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
            )
            if isinstance(text, str) and (text.startswith((".", "stochwm"))):
                found.append((node.lineno, text))
    return [(line, name.removeprefix("stochwm").strip(".")) for line, name in found]


def origin(module: Module, node: ast.ImportFrom) -> str | None:
    """What `from X import` stands for, without the package name; None for other packages."""
    if node.level == 0:
        head, _, rest = (node.module or "").partition(".")
        return rest if head == "stochwm" else None
    up = node.level - 1 if module.is_init else node.level
    kept = module.parts[: len(module.parts) - up]
    return ".".join([*kept, *filter(None, [node.module])])


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def floor_violations(modules: dict[str, Module]) -> list[str]:
    complaints = []
    for module in modules.values():
        if module.room not in LEVEL:
            complaints.append(f"{module.name}: has no floor; give it one in FLOORS")
            continue
        for line, name in imported(module, modules):
            room = name.split(".")[0] if name else "__init__"
            if room not in LEVEL:
                complaints.append(f"{module.name}:{line}: imports {room!r}, which has no floor")
            elif room != module.room and LEVEL[room] >= LEVEL[module.room]:
                complaints.append(f"{module.name}:{line}: imports {room!r}, which is not below it")
    return complaints


# --- classes ----------------------------------------------------------------------------------
@dataclasses.dataclass
class Class:
    where: str
    node: ast.ClassDef
    bases: list[str]

    @property
    def is_abstract(self) -> bool:
        return self.node.name.lstrip("_").startswith("Abstract")

    def functions(self) -> dict[str, ast.FunctionDef]:
        return {n.name: n for n in self.node.body if isinstance(n, ast.FunctionDef)}

    def fields(self) -> dict[str, str]:
        """Annotated names of the class body, with their annotations."""
        annotated = (n for n in self.node.body if isinstance(n, ast.AnnAssign))
        return {n.target.id: ast.unparse(n.annotation) for n in annotated}

    def abstract_names(self) -> set[str]:
        methods = {name for name, f in self.functions().items() if is_abstract_method(f)}
        return methods | {n for n, kind in self.fields().items() if head(kind) in ABSTRACT_FIELDS}

    def concrete_names(self) -> set[str]:
        plain = {t.id for n in self.node.body if isinstance(n, ast.Assign) for t in n.targets}
        return (set(self.functions()) | set(self.fields()) | plain) - self.abstract_names()

    def concrete_fields(self) -> set[str]:
        kinds = self.fields().items()
        return {name for name, kind in kinds if head(kind) not in {*ABSTRACT_FIELDS, "ClassVar"}}


ABSTRACT_FIELDS = {"AbstractVar", "AbstractClassVar"}


def head(annotation: str) -> str:
    """The outermost name: "eqx.AbstractVar[int]" -> "AbstractVar"."""
    return annotation.strip("'\"").split("[")[0].split(".")[-1]


def is_abstract_method(function: ast.FunctionDef) -> bool:
    return any("abstract" in ast.unparse(decorator) for decorator in function.decorator_list)


def classes(modules: dict[str, Module]) -> dict[str, Class]:
    found = {}
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                bases = [head(ast.unparse(base)) for base in node.bases]
                found[node.name] = Class(f"{module.name}:{node.lineno} {node.name}", node, bases)
    return found


def is_module(name: str, known: dict[str, Class]) -> bool:
    """True for the heirs of `eqx.Module`."""
    return name == "Module" or (
        name in known and any(is_module(b, known) for b in known[name].bases)
    )


def missing_names(name: str, known: dict[str, Class]) -> set[str]:
    """Abstract names that neither the class nor the bases before it fill in."""
    if name not in known:
        return set()
    missing: set[str] = set()
    filled: set[str] = set()
    for base in known[name].bases:
        missing |= missing_names(base, known) - filled
        filled |= all_concrete(base, known)
    return (missing - known[name].concrete_names()) | known[name].abstract_names()


def all_concrete(name: str, known: dict[str, Class]) -> set[str]:
    if name not in known:
        return set()
    inherited = set().union(*(all_concrete(base, known) for base in known[name].bases), set())
    return (inherited | known[name].concrete_names()) - known[name].abstract_names()


def class_violations(modules: dict[str, Module]) -> list[str]:
    known = classes(modules)
    complaints = []
    for name, cls in known.items():
        if not is_module(name, known):
            continue
        for base in cls.bases:
            if base in known and is_module(base, known) and not known[base].is_abstract:
                complaints.append(f"{cls.where}: subclasses {base}, which is final")
        missing = missing_names(name, known)
        if cls.is_abstract:
            is_marker = not cls.functions() and not cls.fields()
            if not missing and not is_marker:
                complaints.append(f"{cls.where}: is called abstract but leaves nothing to fill in")
            if cls.concrete_fields():
                fields = sorted(cls.concrete_fields())
                complaints.append(f"{cls.where}: is abstract but has fields {fields}")
            if "__init__" in cls.functions():
                complaints.append(f"{cls.where}: is abstract but has an __init__")
        elif missing:
            complaints.append(f"{cls.where}: is final but leaves {sorted(missing)} open")
    return complaints


# --- files ------------------------------------------------------------------------------------
def init_violations(modules: dict[str, Module]) -> list[str]:
    """A table of contents holds re-exports, a docstring, `__all__` and `__version__`.

    The top one may put off what is slow to import (PEP 562): a `__getattr__`, and for type checkers
    the same names under `TYPE_CHECKING`.
    """
    complaints = []
    for module in modules.values():
        for position, node in enumerate(module.tree.body if module.is_init else []):
            where = f"{module.name or 'stochwm'}/__init__.py:{node.lineno}"
            if isinstance(node, ast.ImportFrom):
                # `from .x import Y as Y`, which tells linters and readers that Y is public.
                odd = [a.name for a in node.names if a.asname != a.name and node.level]
                complaints += [f"{where}: {name} is not re-exported as itself" for name in odd]
            elif not (is_docstring(node, position) or is_table(node) or is_lazy(node, module)):
                complaints.append(
                    f"{where}: {ast.unparse(node).splitlines()[0]!r} is not a re-export"
                )
    return complaints


def is_docstring(node: ast.stmt, position: int) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text and position == 0 and isinstance(node.value.value, str)


def is_lazy(node: ast.stmt, module: Module) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name == "__getattr__" and not module.name
    checking = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return checking and all(isinstance(inner, ast.ImportFrom) for inner in node.body)


def is_table(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Assign):
        return False
    return all(getattr(t, "id", "") in {"__all__", "__version__"} for t in node.targets)


def danger_violations(modules: dict[str, Module]) -> list[str]:
    """Nothing that runs code from a file: pickle and its kin, eval, exec, np.load with objects."""
    complaints = []
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                bad = {name.split(".")[0] for name in names} & SERIALISERS
                complaints += [f"{module.name}:{node.lineno}: imports {name}" for name in bad]
            elif isinstance(node, ast.Call):
                if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}:
                    complaints.append(f"{module.name}:{node.lineno}: calls {node.func.id}")
                complaints += [
                    f"{module.name}:{node.lineno}: allow_pickle"
                    for keyword in node.keywords
                    if keyword.arg == "allow_pickle"
                    and not (
                        isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                    )
                ]
    return complaints


def length_violations(modules: dict[str, Module]) -> list[str]:
    lengths = {name: module.source.count("\n") for name, module in modules.items()}
    return [f"{name}: {n} lines" for name, n in lengths.items() if n >= MAX_LINES]


# --- docstrings -------------------------------------------------------------------------------
def definition(name: str, source: str, modules: dict[str, Module]) -> ast.AST | None:
    """The class or function that `from source import name` gives; None for anything else."""
    module = modules.get(source)
    for node in module.tree.body if module else []:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and name in {a.asname or a.name for a in node.names}:
            further = origin(module, node)
            if further is not None and further != source:
                return definition(name, further, modules)
    return None


def docstring_violations(modules: dict[str, Module]) -> list[str]:
    """Everything in a table of contents explains itself; an override may inherit its docstring."""
    known = classes(modules)
    complaints = []
    for module in modules.values():
        for node in module.tree.body if module.is_init else []:
            source = origin(module, node) if isinstance(node, ast.ImportFrom) else None
            for alias in node.names if source is not None else []:
                found = definition(alias.name, source, modules)
                if found is not None and not ast.get_docstring(found):
                    complaints.append(f"{alias.name}: no docstring")
                if isinstance(found, ast.ClassDef):
                    silent = sorted(silent_methods(found.name, known))
                    complaints += [f"{alias.name}.{method}: no docstring" for method in silent]
    return list(dict.fromkeys(complaints))


def silent_methods(name: str, known: dict[str, Class]) -> set[str]:
    """Public methods without a docstring of their own or of a class above."""
    functions = known[name].functions()
    public = {n for n, f in functions.items() if not n.startswith("_") and not is_overload(f)}
    return {n for n in public if not explained(n, name, known)}


def is_overload(function: ast.FunctionDef) -> bool:
    """Setters and typing overloads are explained at the getter or the implementation."""
    decorators = " ".join(ast.unparse(decorator) for decorator in function.decorator_list)
    return ".setter" in decorators or "overload" in decorators


def explained(method: str, name: str, known: dict[str, Class]) -> bool:
    """The class, or one that it inherits from, documents the method; unknown bases are trusted."""
    if name not in known:
        return name not in {"Module", "ABC", "Protocol", "Generic", "object", "NamedTuple"}
    function = known[name].functions().get(method)
    if function is not None and ast.get_docstring(function):
        return True
    return any(explained(method, base, known) for base in known[name].bases)


# --- the house --------------------------------------------------------------------------------
RULES = [
    floor_violations,
    class_violations,
    init_violations,
    danger_violations,
    length_violations,
    docstring_violations,
]


@pytest.mark.parametrize("rule", RULES)
def test_package_keeps_the_rule(rule):
    complaints = rule(package())
    assert not complaints, "\n" + "\n".join(complaints)


# --- the rules can fail -----------------------------------------------------------------------
BASE = """
class AbstractThing(eqx.Module):
    size: eqx.AbstractVar[int]
    @abc.abstractmethod
    def run(self):
        '''Run.'''
"""
FINAL = "class Thing(AbstractThing):\n    '''A thing.'''\n    size: int\n    def run(self): ...\n"
LAWFUL = {
    "__init__.py": "'''Doc.'''\nfrom .models import Thing as Thing\n__all__ = ['Thing']\n",
    "models/__init__.py": "from .thing import Thing as Thing\n",
    "models/base.py": BASE,
    "models/thing.py": "import numpy as np\nfrom ..distributions.base import x\n" + FINAL,
    "distributions/base.py": "x = np.load(f, allow_pickle=False)\n",
    "data/base.py": "from .. import models\nfrom .other import y\n",
    "data/other.py": "y = 1\n",
    "training/base.py": "from stochwm.models import Thing\n",
}
# Rule, file, text added to it.
CRIMES = {
    "upward": (floor_violations, "models/base.py", "from ..training.base import z"),
    "upward, absolute": (floor_violations, "models/base.py", "import stochwm.training.base"),
    "upward, from the package": (floor_violations, "models/base.py", "from .. import training"),
    "upward, top": (floor_violations, "models/base.py", "from stochwm import Thing"),
    "upward, in a function": (
        floor_violations,
        "models/base.py",
        "def f():\n  from ..data import y",
    ),
    "upward, for types": (
        floor_violations,
        "models/base.py",
        "if TYPE_CHECKING:\n    from ..data.other import y",
    ),
    "upward, by name": (floor_violations, "models/base.py", "import_module('stochwm.data.other')"),
    "sideways": (floor_violations, "training/base.py", "from ..data.other import y"),
    "sideways back": (floor_violations, "data/base.py", "from ..training.base import Thing"),
    "no floor": (floor_violations, "utils/base.py", "x = 1"),
    "heir of a final class": (class_violations, "models/thing.py", "class Sub(Thing): ..."),
    "fields in an abstract class": (class_violations, "models/base.py", "    weight: float"),
    "init in an abstract class": (
        class_violations,
        "models/base.py",
        "    def __init__(self): ...",
    ),
    "nothing abstract": (
        class_violations,
        "models/thing.py",
        "class AbstractEmpty(eqx.Module):\n    def run(self): ...",
    ),
    "abstract by another name": (
        class_violations,
        "models/thing.py",
        "class Half(AbstractThing):\n    size: int",
    ),
    "code in a table of contents": (init_violations, "models/__init__.py", "print('hello')"),
    "function in a table of contents": (init_violations, "__init__.py", "def f(): ..."),
    "renaming": (init_violations, "models/__init__.py", "from .thing import Thing as Object"),
    "private import": (init_violations, "models/__init__.py", "from .thing import Thing"),
    "pickle": (danger_violations, "data/base.py", "import pickle"),
    "pickle, from": (danger_violations, "data/base.py", "from cloudpickle import loads"),
    "objects in arrays": (danger_violations, "data/base.py", "np.load(f, allow_pickle=True)"),
    "objects perhaps": (danger_violations, "data/base.py", "np.load(f, allow_pickle=flag)"),
    "eval": (danger_violations, "data/base.py", "eval('1')"),
    "long": (length_violations, "data/base.py", "\n" * MAX_LINES),
    "silent function": (
        docstring_violations,
        "models/__init__.py",
        "from .silent import f as f",
    ),
    "silent method": (docstring_violations, "models/thing.py", "    def walk(self): ..."),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule_accepts_a_lawful_tree(rule):
    assert rule(read(LAWFUL)) == []


@pytest.mark.parametrize("crime", CRIMES)
def test_rule_sees_the_crime(crime):
    rule, path, text = CRIMES[crime]
    guilty = LAWFUL | {path: LAWFUL.get(path, "") + text + "\n"}
    guilty |= {"models/silent.py": "def f(): ...\n"}
    assert len(rule(read(guilty))) == 1
