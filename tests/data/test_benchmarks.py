"""Public benchmarks are read from the folders in which they are handed out."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_maker import CHAOS, SCR, bcv, chaos, chestxr, isic, jsrt, organs, picture, ricord, stack
from dicom_maker import save_all, slices

import unimiss as engine
from unimiss.data.cache import cache_key
from unimiss.data.datasets import check_dataset, inspect_dataset, read_dataset, read_mask
from unimiss.errors import InputError


def checked(root: Path):
    return check_dataset(read_dataset(root), report=lambda share: None, warn=pytest.fail)


def said(root: Path) -> str:
    return " ".join(problem.text for problem in inspect_dataset(read_dataset(root))[1])


def case_of(folder: Path, values: np.ndarray, order: list[int], masks: list[str], names: list[str]) -> Path:
    """One patient: slices of which the k-th file shows the plane `order[k]`, and pictures of that plane."""
    made = slices(values.astype(np.uint16), modality="MR", step=(0, 0, -4.0), SeriesInstanceUID="1.5")
    save_all(folder / "1/DICOM_anon", [made[k] for k in order], [f"{name}.dcm" for name in names])
    stack(folder / "1/Ground", masks, values[order])
    return folder


def distinct(count: int) -> np.ndarray:
    """Planes of which no two are alike, nor like themselves mirrored."""
    planes = np.zeros((count, 8, 10))
    for k, plane in enumerate(planes):
        plane[0, 0], plane[k % 8, 1 + k // 8] = 63, 126
    return planes


def lies_on_its_image(root: Path) -> bool:
    (case,) = read_dataset(root).cases
    dataset = replace(read_dataset(root), labels={0: "background", 63: "a", 126: "b"})
    image, mask = engine.read(case.image), read_mask(case, dataset)
    assert image.geometry.difference(mask.geometry) is None
    return np.array_equal(image.array, mask.array)


@pytest.mark.parametrize("order", [range(12), range(11, -1, -1), [3, 0, 7, 1, 11, 2, 4, 10, 5, 6, 9, 8]])
def test_pictures_of_the_slices_names_lie_on_them_whatever_their_order(tmp_path, order):
    names = [f"IMG-{k:04}" for k in range(12)]
    assert lies_on_its_image(case_of(tmp_path, distinct(12), list(order), names, names))


@pytest.mark.parametrize("order", [range(12), range(11, -1, -1)])
def test_pictures_of_other_names_are_counted_along_the_slices(tmp_path, order):
    masks, names = [f"liver_GT_{k}" for k in range(12)], [f"i{k},0000b" for k in range(12)]  # 10 after 9
    assert lies_on_its_image(case_of(tmp_path, distinct(12), list(order), masks, names))


def test_pictures_are_refused_where_only_luck_would_pair_them(tmp_path):
    masks, names = [f"liver_GT_{k:02}" for k in range(6)], [f"i{k:02}" for k in range(6)]
    root = case_of(tmp_path / "mixed", distinct(6), [0, 2, 1, 3, 4, 5], masks, names)
    assert "in another order than they lie in; give each picture the name of its slice" in said(root)
    with pytest.raises(InputError, match="1 problem"):
        checked(root)
    root = case_of(tmp_path / "lacking", distinct(6), list(range(6)), masks, names)
    (root / "1/Ground/liver_GT_03.png").unlink()
    assert "holds 5 pictures" in said(root)
    with pytest.raises(InputError, match="each slice needs a picture of its own"):
        checked(root)
    root = case_of(tmp_path / "size", distinct(6), list(range(6)), masks, names)
    picture(root / "1/Ground/liver_GT_03.png", np.zeros((8, 9)))
    assert "liver_GT_03.png has 8 x 9 pixels, its slice in" in said(root)


def test_a_changed_picture_is_prepared_anew(tmp_path):
    names = [f"{k:02}" for k in range(4)]
    folder = case_of(tmp_path, distinct(4), list(range(4)), names, names) / "1/Ground"
    before = cache_key((folder,), "")
    picture(folder / "02.png", np.eye(20))
    assert cache_key((folder,), "") != before


def test_chaos_has_three_series_of_each_patient(tmp_path):
    root = chaos(tmp_path) / "MR"
    dataset = checked(root)
    assert set(dataset.labels) == {0, *CHAOS.values()}
    assert Counter(case.patient for case in dataset.cases) == {"1": 3, "2": 3, "3": 3}
    for case in dataset.cases:
        image, mask = engine.read(case.image), read_mask(case, dataset).array[0]
        for value in CHAOS.values():
            assert abs(image.array[0][mask == value].mean() - 20 - 2 * value) < 2
        first = organs((10, 32, 36), tuple(CHAOS.values()), int(case.patient))
        np.testing.assert_array_equal(mask, first[::-1])  # the first picture is the topmost slice


def test_chaos_ct_and_mr_are_two_data_sets(tmp_path):
    root = chaos(tmp_path, 2, ("MR", "CT"))
    assert "are in one data set; name the folder of one of them" in said(root)
    dataset = checked(root / "CT")
    assert list(dataset.labels) == [0, 255]
    case = dataset.cases[0]
    liver = engine.read(case.image).array[0][read_mask(case, dataset).array[0] == 255]
    assert abs(liver.mean() - 205) < 2


def test_bcv_is_found_in_the_folder_of_its_archive(tmp_path):
    root = bcv(tmp_path / "Abdomen")
    for place in (root, root.parent, root / "Training"):
        dataset = checked(place)
        assert len(dataset.cases) == 4
        assert set(dataset.labels) == set(range(14))


def test_ricord_lists_name_splits_and_patients_have_several_series(tmp_path):
    dataset = checked(ricord(tmp_path))
    assert Counter(case.split for case in dataset.cases) == {"training": 6, "validation": 6, "test": 6}
    assert len({case.patient for case in dataset.cases}) == 12
    assert "ID419639-000110" in {case.patient for case in dataset.cases}


def test_scr_masks_of_jsrt_lie_in_folders_of_folds(tmp_path):
    dataset = checked(jsrt(tmp_path))
    assert dataset.overlapping
    assert tuple(dataset.labels.values()) == ("background", *SCR)
    assert {case.name: case.fold for case in dataset.cases} == {f"JPCLN{n:03}": 1 - n % 2 for n in (1, 2, 3)}
    mask = read_mask(dataset.cases[0], dataset).array
    assert (mask[0] & mask[2]).any()  # the heart lies over a lung
    shutil.rmtree(tmp_path / "scratch/fold2/masks/heart")
    assert "has masks of 4 of the 5 structures" in said(tmp_path)


def test_folders_of_images_and_masks_may_be_capitalised(tmp_path):
    for folder in ("Images", "Masks/heart", "Masks/lung"):
        picture(tmp_path / folder / "JPCLN001.png", 255 * np.eye(8))
    assert list(read_dataset(tmp_path).labels.values()) == ["background", "heart", "lung"]


def test_numbers_of_chestxr_begin_anew_in_each_split(tmp_path):
    dataset = checked(chestxr(tmp_path))
    assert list(dataset.labels.values()) == ["covid", "normal", "pneumonia"]
    assert Counter(case.split for case in dataset.cases) == {"training": 6, "validation": 6}
    assert len({case.patient for case in dataset.cases}) == 12


def test_a_name_that_counts_nothing_is_one_patient_in_both_splits(tmp_path):
    for n, split in enumerate(("train", "validation")):
        for kind in ("covid", "normal"):
            picture(tmp_path / split / kind / f"{kind[0]}_patient12.png", np.full((4, 4), n))
    assert "are of one patient, who would be in two splits" in said(tmp_path)


def test_isic_says_in_a_second_table_which_images_show_one_lesion(tmp_path):
    dataset = checked(isic(tmp_path))
    assert not dataset.overlapping
    assert set(dataset.labels.values()) == {"MEL", "NV", "BCC"}
    assert Counter(Counter(case.patient for case in dataset.cases).values()) == {2: 3, 1: 6}
    assert dataset.cases[0].patient == "HAM_0000000"


def test_the_table_of_ham10000_is_known(tmp_path):
    picture(tmp_path / "HAM10000_images_part_1/ISIC_0027419.jpg", np.eye(8))
    picture(tmp_path / "HAM10000_images_part_2/ISIC_0025030.jpg", np.eye(8))
    lines = [
        "lesion_id,image_id,dx,dx_type,age,sex,localization",
        "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp",
    ]
    (tmp_path / "HAM10000_metadata.csv").write_text(
        "\n".join([*lines, "HAM_0000119,ISIC_0025030,nv,histo,,male,ear"])
    )
    found = {case.patient: case.classes for case in read_dataset(tmp_path).cases}
    assert found == {"HAM_0000118": ("bkl",), "HAM_0000119": ("nv",)}


def test_the_documented_lines_turn_raw_films_into_pictures_of_the_masks_size(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    lines = page.split("```python\n")[1].split("```")[0]
    raw = np.full((2048, 2048), 4000, ">u2")  # dark film
    raw[200:400, 600:1000] = 100  # bone
    (tmp_path / "All247images").mkdir()
    raw.tofile(tmp_path / "All247images" / "JPCLN001.IMG")
    monkeypatch.chdir(tmp_path)
    exec(lines, {})
    found = engine.read(tmp_path / "images" / "JPCLN001.png").array[0]
    expected = np.full((1024, 1024), 95)
    expected[100:200, 300:500] = 3995
    np.testing.assert_array_equal(found, expected)
