"""What is no data set, or contradicts itself, is refused in a sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from laid_out import LABELS, describe, picture, touch

from unimiss.data.datasets import check_dataset, read_dataset
from unimiss.errors import InputError


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"labels": LABELS, "file_ending": ".nii"}, r"'file_ending' is '\.nii'.*they have \.nii\.gz"),
        ({"labels": {"bg": 1, "a": 0}}, "background of masks is 0, found 'bg' for 1 and 'a' for 0"),
    ],
)
def test_a_description_that_contradicts_the_files_or_itself_is_refused(tmp_path, entries, said):
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    with pytest.raises(InputError, match=said):
        read_dataset(describe(tmp_path, **entries))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "picture,label\na.png,x\n", "header"),
        ("t.csv", "", "header"),
        ("t.csv", "image,label\n", "names no case"),
        ("t.json", "[1]", "must hold an object"),
        ("t.json", '{"channel_names": {"1": "CT"}, "labels": {"x": 1}}', "channel_names"),
        ("t.json", '{"file_ending": ".xyz", "labels": {"x": 1}}', ".xyz"),
        ("t.json", '{"labels": {"x": 1}}', "no imagesTr"),
        ("t.pdf", "", "is no data set"),
        ("t.txt", "no image", "none of their files exists"),
        ("t.txt", "one", "has no label"),
        ("t.csv", "image,label\nx.png,covid\n", "names 1 cases, and none of their files exists"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_a_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        read_dataset(tmp_path / name)


def test_binary_files_are_no_tables(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(InputError, match="not a text file"):
        read_dataset(tmp_path / "t.csv")
    with pytest.raises(InputError, match="folder for each class"):
        read_dataset(tmp_path)


TABLES = [
    "\x00",
    "image,label\n,\n",
    'image,label\n"x',
    "image,label,fold\nimages/0.png,x,-1",
    "image,label\n" + "y" * 5000 + ".png,x",
    "image,label\nimages/0.png,masks/0.png|masks/1.png\nimages/1.png,masks/1.png",
    "image,label\nimages/0.png|images/1.png,a\nimages/1.png,b",
    "image,A,B\nimages/0.png,1\n",
    "image,image,label\nimages/0.png,images/0.png,2\n",
]


DESCRIPTIONS = [
    {"labels": 3},
    {"labels": {"a": None}},
    {"labels": {"a": [[1]]}},
    {"labels": {"a": 10**30}},
    {"labels": {"²": 1}},
    {"labels": {"1": "a", "2": "a"}},
    {"training": [1, None, {"image": 3, "label": {}}]},
    {"dataset": {"a": 1}},
    {"modality": [1]},
    {"modality": {"0": 3, "x": 1}},
    {"channel_names": {"0": "CT", "1": "MR"}, "labels": {"b": 0, "x": 1}},
    {"file_ending": 7},
]


@pytest.mark.parametrize("content", TABLES + [json.dumps(one) for one in DESCRIPTIONS])
def test_nonsense_is_a_problem_or_a_sentence(tmp_path, content):
    for number in range(2):
        for folder in ("images", "masks"):
            picture(tmp_path / folder / f"{number}.png", np.full((4, 4), number + 1))
    file = tmp_path / ("dataset.json" if content.startswith("{") else "t.csv")
    file.write_text(content)
    with pytest.raises(InputError, match=f"{tmp_path}|^t "):
        check_dataset(read_dataset(file), report=lambda share: None, warn=lambda text: None)
