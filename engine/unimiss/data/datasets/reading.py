"""From a path to a data set that may be trained on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from unimiss.data.datasets.checks import check_dataset
from unimiss.data.datasets.classes import read_classes
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.described import FILE, read_described
from unimiss.data.datasets.folders import read_folders
from unimiss.data.datasets.labels import relabel, set_apart
from unimiss.data.datasets.layout import visible
from unimiss.data.datasets.problems import Acceptable, refuse
from unimiss.data.datasets.stacks import read_stacks
from unimiss.data.datasets.tables import LISTS, TABLES, read_table, read_tables, why_no_table
from unimiss.errors import InputError

_KNOWN = (
    "a dataset.json, a table (image,label), imagesTr and labelsTr, images and masks, "
    "DICOM series beside pictures of their slices, a list of 'path label' lines, or a folder for each class"
)


def read_dataset(path: Path) -> Dataset:
    """Find the labelled cases of a folder or of a file that lists them; no image is opened.

    Parameters
    ----------
    path : Path
        A folder, tried in this order: with a ``dataset.json`` (`described`); with tables or lists (`tables`);
        of images beside masks (`folders`); of DICOM series beside pictures of their slices (`stacks`); of a
        folder for each class (`classes`). A folder with nothing but one folder in it stands for that one.
        Or one of these files.

    Raises
    ------
    InputError
        There is nothing at the path, no layout is recognised, or nothing in it is labelled.
    """
    try:
        found = _in_folder(path) if path.is_dir() else _of_file(path)
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    if found.cases and not any(file.exists() for case in found.cases for file in case.images):
        raise InputError(f"{path} names {len(found.cases)} cases, and none of their files exists")
    if not found.cases:
        refuse(path, found.problems, ())
        why = f"; {found.problems[0].text}" if found.problems else ""
        raise InputError(f"{path} holds no image that has a mask of the same name, or a class{why}")
    return found


def _of_file(path: Path) -> Dataset:
    if not path.exists():
        raise InputError(f"{path}: there is no such data set folder")
    if path.suffix.lower() in (*TABLES, *LISTS):
        return read_table([path], path)
    if path.suffix.lower() == ".json":
        return read_described(path)
    raise InputError(f"{path} is no data set; it needs {_KNOWN}")


def _in_folder(folder: Path) -> Dataset:
    if (folder / FILE).exists():
        return read_described(folder / FILE)
    for reader in (read_tables, read_folders, read_stacks, read_classes):
        found = reader(folder)
        if found is not None:
            return found
    inside = visible(folder)
    if len(inside) == 1 and inside[0].is_dir():  # archives are often unpacked into a folder of their name
        return _in_folder(inside[0])
    why = why_no_table(folder)
    raise InputError(f"{folder} is no data set that is known here: it needs {_KNOWN}{why and '; ' + why}")


def open_dataset(
    path: Path,
    *,
    names: Mapping[str, str] = MappingProxyType({}),
    labels: Mapping[str, str],
    ignore: Collection[str],
    accept: Collection[Acceptable],
    report: Callable[[float], None],
    warn: Callable[[str], None],
) -> Dataset:
    """Read a data set, check all of it, and rename its classes as the user wants them.

    Parameters
    ----------
    path : Path
        As `read_dataset` takes it.
    names : mapping of str to str
        Names of classes by those, or the values, in the files; those that are not there are passed over.
    labels, ignore : mapping of str to str, collection of str
        Classes that are renamed or joined, and classes that are not learned; see `relabel`. Voxels of masks
        whose class is then called "ignore" are those that nobody labelled.
    accept : collection of str
        Faults that do not refuse the data set: "empty masks" (cases without a finding, which are kept),
        "duplicates" (of which the first is kept).
    report, warn : callable
        Receive the checked share, 0 to 1, and a sentence for each case that is left out.

    Raises
    ------
    InputError
        The data set cannot be used; all of its problems are listed.
    """
    found = check_dataset(read_dataset(path), accept=accept, report=report, warn=warn)
    there = {old: new for old, new in names.items() if old in found.labels.values()}
    return set_apart(relabel(relabel(found, there, ()) if there else found, labels, ignore))
