import subprocess
import sys

MODULES = """
import importlib, pkgutil, sys
import napari_unimiss
{deeper}
print(",".join(name for name in ("torch", "monai", "SimpleITK", "lightning_fabric") if name in sys.modules))
"""
DEEPER = """
for module in pkgutil.walk_packages(napari_unimiss.__path__, "napari_unimiss."):
    importlib.import_module(module.name)
"""


def loaded(deeper: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", MODULES.format(deeper=deeper)], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().splitlines()[-1] if run.stdout.strip() else ""


def test_importing_the_package_loads_nothing_heavy():
    assert loaded("") == ""


def test_importing_every_module_loads_neither_torch_nor_monai():
    assert not {"torch", "monai", "lightning_fabric"} & set(loaded(DEEPER).split(","))
