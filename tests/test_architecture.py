"""Dependencies point one way: plugin -> engine, and inside the engine from upper rooms to lower ones."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "napari_unimiss"
ENGINE = ROOT / "engine" / "unimiss"

# A room imports itself and rooms of lower shelves. docs/architecture.md draws the same picture.
SHELVES = (
    {"errors"},
    {"colours", "geometry", "settings", "devices", "scaling", "runs"},
    {"io"},
    {"data", "evaluation", "samples", "training"},
    {"drr", "models"},
    {"inference"},
    {"finetuning", "pretraining"},
    {"display", "info", "overlay"},
    {"demo", "doctor"},
    {"cli"},
    {"__main__", "__init__"},
)
SHELF = {room: number for number, rooms in enumerate(SHELVES) for room in rooms}
FOUNDATION = {"unimiss.errors", "unimiss.geometry", "unimiss.io", "unimiss.runs.atomic"}
ONLY = {
    "evaluation": FOUNDATION | {"unimiss.colours"},
    "samples": FOUNDATION,
}  # usable without the rest of their lower shelves
SCREEN = {
    "magicgui",
    "napari",
    "napari_unimiss",
    "npe2",
    "PyQt5",
    "PyQt6",
    "pyqtgraph",
    "PySide2",
    "PySide6",
    "qtpy",
    "superqt",
    "vispy",
}
PLACEMENT = {"affine", "rotate", "scale", "shear", "translate"}
WORK = {  # what starts a process or a thread
    "concurrent",
    "multiprocessing",
    "subprocess",
    "threading",
    "napari.qt.threading",
    "superqt.utils.create_worker",
    "superqt.utils.thread_worker",
    "unimiss.runs.launch",
    "unimiss.runs.command_line",
    "napari_unimiss.children.Child",
}


def modules(package: Path) -> dict[str, Path]:
    """Path inside the package -> file."""
    found = {path.relative_to(package).as_posix(): path for path in sorted(package.rglob("*.py"))}
    assert found, f"{package} holds no module"
    return found


def imports(path: Path, source: Path) -> Iterator[str]:
    """Everything that a module imports, at its top or later, as dotted names down to the imported one.

    After a plain ``import unimiss`` the name stands for what is taken from it.
    """
    here = path.relative_to(source).with_suffix("").parts
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name != "unimiss" or alias.asname)
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "unimiss":
            yield f"unimiss.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            base = (*(here[: len(here) - node.level] if node.level else ()), *filter(None, [node.module]))
            yield from (".".join((*base, alias.name)) for alias in node.names)


def dynamic_imports(path: Path) -> Iterator[str]:
    """Names that a module hands to `import_module` or `__import__` as plain text."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in {"import_module", "__import__"}:
                yield str(node.args[0].value)


def within(name: str, targets: set[str]) -> bool:
    """Whether a dotted name is one of the targets or lies inside one."""
    parts = name.split(".")
    return any(".".join(parts[:n]) in targets for n in range(1, len(parts) + 1))


def room_of(inside: str) -> str:
    """Room of a file, by its path inside the engine."""
    return inside.split("/")[0].removesuffix(".py")


ENGINE_MODULES = modules(ENGINE)
PLUGIN_MODULES = modules(PLUGIN)


def test_import_walker_sees_every_form(tmp_path):
    package = tmp_path / "unimiss" / "room"
    package.mkdir(parents=True)
    file = package / "module.py"
    file.write_text(
        "import a.b as c\nfrom d import e\nfrom . import f\nfrom ..g import h\ndef late():\n    import i\n"
        "import importlib\nimportlib.import_module('j')\nimport unimiss\nunimiss.k.l()\n"
    )
    assert set(imports(file, tmp_path)) == {
        "a.b",
        "d.e",
        "unimiss.room.f",
        "unimiss.g.h",
        "i",
        "importlib",
        "unimiss.k",
    }
    assert list(dynamic_imports(file)) == ["j"]


def test_every_room_has_its_shelf_and_its_place_in_the_document():
    rooms = {room_of(inside) for inside in ENGINE_MODULES}
    unknown = sorted(rooms - set(SHELF))
    assert not unknown, f"give {unknown} a shelf here and a line in docs/architecture.md"
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    undescribed = [room for room in sorted(rooms) if not room.startswith("__") and f"`{room}`" not in text]
    assert not undescribed, f"docs/architecture.md does not describe {undescribed}"


@pytest.mark.parametrize("inside", ENGINE_MODULES)
def test_engine_rooms_depend_only_on_lower_ones(inside):
    room = room_of(inside)
    for name in imports(ENGINE_MODULES[inside], ENGINE.parent):
        top, _, rest = name.partition(".")
        if top != "unimiss" or rest == "__version__":
            continue
        other = rest.split(".")[0]
        assert other in SHELF, f"{inside} imports {name}: import it from the room that defines it"
        if other == room:
            continue
        assert SHELF[other] < SHELF[room], f"{inside} imports {name}, which is not below {room}"
        if room in ONLY:
            assert within(name, ONLY[room]), f"{inside} imports {name}, and {room} should not need it"


@pytest.mark.parametrize("inside", ENGINE_MODULES)
def test_engine_knows_neither_napari_nor_qt(inside):
    found = {name for name in imports(ENGINE_MODULES[inside], ENGINE.parent) if within(name, SCREEN)}
    if room_of(inside) not in {"demo", "doctor"}:  # these show the result, or look for Qt, where it is there
        found |= {name for name in dynamic_imports(ENGINE_MODULES[inside]) if within(name, SCREEN)}
    assert not found


@pytest.mark.parametrize("inside", PLUGIN_MODULES)
def test_only_layers_places_layers(inside):
    tree = ast.parse(PLUGIN_MODULES[inside].read_text(encoding="utf-8"))
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    given = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    keys = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    found = PLACEMENT & (read | given | keys)
    if inside != "layers.py":
        assert not found, f"{inside} uses {sorted(found)}, which is what layers.py is for"
    else:
        assert found, "layers.py does not place layers: does this test still look at the right names?"


def test_the_window_of_ct_is_written_once():
    paths = (*ENGINE_MODULES.values(), *PLUGIN_MODULES.values())
    found = [path.name for path in paths if re.search(r"-160(\.0)?, 240", path.read_text(encoding="utf-8"))]
    assert found == ["colours.py"]


@pytest.mark.parametrize("inside", PLUGIN_MODULES)
def test_only_jobs_starts_work(inside):
    found = {name for name in imports(PLUGIN_MODULES[inside], ROOT) if within(name, WORK)}
    if inside not in {"jobs.py", "children.py"}:  # jobs.py is the door, children.py the part of it without Qt
        assert not found, f"{inside} does what jobs.py is for"


def test_importing_the_whole_plugin_loads_neither_torch_nor_monai():
    code = (
        "import importlib, json, pkgutil, sys, napari_unimiss\n"
        "for module in pkgutil.walk_packages(napari_unimiss.__path__, 'napari_unimiss.'):\n"
        "    importlib.import_module(module.name)\n"
        "own = [name for name in sys.modules if name.split('.')[0] == 'napari_unimiss']\n"
        "print(json.dumps([sorted({'torch', 'monai'} & set(sys.modules)), len(own)]))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    heavy, count = json.loads(result.stdout.splitlines()[-1])
    assert heavy == []
    assert count >= len([inside for inside in PLUGIN_MODULES if not inside.endswith("__main__.py")])
