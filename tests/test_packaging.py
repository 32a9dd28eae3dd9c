"""One distribution, two packages, one manifest: from the checkout and from its source archive."""

import ast
import configparser
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata, resources
from pathlib import Path

import pytest
import yaml
from npe2 import PluginManifest

import unimiss

ROOT = Path(__file__).parents[1]
SOURCES = {"napari_unimiss": ROOT / "napari_unimiss", "unimiss": ROOT / "engine" / "unimiss"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MANIFEST = (ROOT / "napari.yaml").read_bytes()


def build(target: str, source: Path, folder: Path) -> Path:
    """Run the build backend, without the network."""
    result = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with zipfile.ZipFile(build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


def test_wheel_holds_both_packages_and_nothing_else(wheel):
    modules = {
        f"{name}/{path.relative_to(source).as_posix()}"
        for name, source in SOURCES.items()
        for path in source.rglob("*.py")
    }
    names = set(wheel.namelist())
    assert modules <= names
    assert {"unimiss/py.typed", "unimiss/evaluation/page.html"} <= names
    assert {name.split("/")[0] for name in names} == {
        *SOURCES,
        f"napari_unimiss-{PROJECT['version']}.dist-info",
    }
    assert not [name for name in names if name.endswith((".pyc", ".nii", ".nii.gz", ".dcm"))]


def test_wheel_holds_the_manifest_once(wheel):
    manifests = [name for name in wheel.namelist() if name.endswith("napari.yaml")]
    assert manifests == ["napari_unimiss/napari.yaml"]
    assert wheel.read("napari_unimiss/napari.yaml") == MANIFEST


def test_wheel_declares_command_manifest_and_licence(wheel):
    info = f"napari_unimiss-{PROJECT['version']}.dist-info"
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(f"{info}/entry_points.txt").decode())
    assert entries["napari.manifest"]["napari-unimiss"] == "napari_unimiss:napari.yaml"
    assert "unimiss" in entries["console_scripts"]
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_source_archive_builds_the_same_wheel(wheel, tmp_path):
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.glob("napari_unimiss-*")
    assert {"tests", "docs", "Makefile", "CITATION.cff"} <= {path.name for path in source.iterdir()}
    with zipfile.ZipFile(build("wheel", source, tmp_path / "wheel")) as again:
        assert sorted(again.namelist()) == sorted(wheel.namelist())


def test_manifest_bears_the_name_of_the_distribution():
    assert yaml.safe_load(MANIFEST)["name"] == PROJECT["name"]


def test_napari_finds_the_manifest_of_the_installed_package():
    assert PluginManifest.from_distribution(PROJECT["name"]).name == PROJECT["name"]
    installed = resources.files("napari_unimiss") / "napari.yaml"
    assert installed.read_bytes() == MANIFEST


def test_editable_install_reads_this_checkout():
    url = json.loads(metadata.distribution(PROJECT["name"]).read_text("direct_url.json") or "{}")
    if not url.get("dir_info", {}).get("editable"):
        pytest.skip("the package is not installed in editable mode")
    assert Path(unimiss.__file__).parent == SOURCES["unimiss"]
    link = SOURCES["napari_unimiss"] / "napari.yaml"
    assert not link.is_symlink() or link.resolve() == ROOT / "napari.yaml"


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert str(citation["version"]) == PROJECT["version"]
    assert unimiss.__version__ == PROJECT["version"]
    assert PROJECT["version"] in changelog


def test_every_imported_distribution_is_declared():
    declared = {normal(re.match(r"[\w.-]+", line)[0]) for line in PROJECT["dependencies"]}
    owners = metadata.packages_distributions()
    undeclared = set()
    for source in SOURCES.values():
        for path in source.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = {node.module or ""}
                else:
                    continue
                for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - set(SOURCES):
                    if not declared & {normal(owner) for owner in owners.get(top, ())}:
                        undeclared.add(f"{path.relative_to(ROOT).as_posix()} imports {top}")
    assert not undeclared


def normal(name: str) -> str:
    """Name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
