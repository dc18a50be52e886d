import time

import pytest

from aurora_trl.data import attach_completions, load_refavs
from aurora_trl.data.refavs import MissingFilesError


HEADER = "vid,uid,split,fid,exp"
ROWS = [
    "other,v1_a_hair-dryer_1,train,3,The first object to make a sound.",
    "v1_a,v1_a_hair-dryer_2,train,3,The louder one.",
    "v1_a,null_c-v1_a_null_1,train,0,The object on the moon.",
    "v2,v2_cat_1,test_s,0,The cat.",
    "v2,v2_cat_1,test_s,0,The cat that meows.",
    "v3,v3_dog_1,TODO,0,",
]


def write_table(root, rows):
    root.mkdir(exist_ok=True)
    (root / "metadata.csv").write_text("\r\n".join([HEADER, *rows]) + "\r\n", encoding="utf-8")
    return root


@pytest.fixture
def root(tmp_path):
    return write_table(tmp_path / "refavs", ROWS)


def test_the_clip_comes_from_the_uid(root):
    rows = load_refavs(root, "train", check_files=False)
    assert rows[0]["audio"] == f"{root}/media/v1_a/audio.wav"
    assert rows[0]["frames"][9] == f"{root}/media/v1_a/frames/9.jpg"
    assert rows[0]["masks"][9] == f"{root}/gt_mask/v1_a/fid_3/00009.png"
    assert rows[0]["category"] == "hair-dryer"
    assert rows[0]["prompt"] == [
        {
            "role": "user",
            "content": "The reference is: The first object to make a sound. "
            "Please segment the corresponding object in the images.",
        }
    ]
    assert len(rows[0]["frames"]) == len(rows[0]["masks"]) == 10
    assert set(rows.column_names) == {"prompt", "expression", "category", "uid", "frames", "audio", "masks"}


def test_null_rows_have_no_masks(root):
    row = load_refavs(root, "train", check_files=False)[2]
    assert (row["category"], row["masks"]) == ("null", [])
    assert row["audio"] == f"{root}/media/null_c-v1_a/audio.wav"


def test_repeated_uids_stay_distinct(root):
    rows = load_refavs(root, "test_s", check_files=False)
    assert rows["uid"][:] == ["v2_cat_1", "v2_cat_1#2"]
    assert rows["category"][:] == ["cat", "cat"]
    assert rows["expression"][1] == "The cat that meows."


def test_a_system_prompt_comes_first(root):
    prompt = load_refavs(root, "train", system_prompt="Think.", check_files=False)[0]["prompt"]
    assert [turn["role"] for turn in prompt] == ["system", "user"]
    assert prompt[0]["content"] == "Think."


def test_null_only_splits_have_the_same_types(tmp_path):
    root = write_table(tmp_path, ["v,null_c-v_null_1,test_n,0,A.", "v,v_cat_1,val,0,B."])
    null, val = (load_refavs(root, split, check_files=False) for split in ("test_n", "val"))
    assert null.features == val.features


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("v,v_cat_1,train,0,  ", r"line 2 \(uid 'v_cat_1'\): the expression is empty"),
        ("v,v_cat_1,test_x,0,The cat.", "unknown split 'test_x'"),
        ("v,cat,train,0,The cat.", "is not <vid>_<category>_<number>"),
        ("v,../../etc_cat_1,train,0,The cat.", "leaves the folder"),
        ("v,.._cat_1,train,0,The cat.", "leaves the folder"),
        ("v,/etc_cat_1,train,0,The cat.", "leaves the folder"),
        ("v,v_cat_1,train,../1,The cat.", r"\(fid\) is '../1'"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        load_refavs(write_table(tmp_path, [row]), "train", check_files=False)


def test_bad_arguments(root, tmp_path):
    with pytest.raises(ValueError, match="Unknown split 'test'.*test_s, test_u"):
        load_refavs(root, "test")
    with pytest.raises(ValueError, match="no row of split 'val'"):
        load_refavs(root, "val")
    with pytest.raises(MissingFilesError, match=r"There is no .*metadata\.csv"):
        load_refavs(tmp_path / "nowhere", "train")
    (tmp_path / "metadata.csv").write_text("uid,split\n")
    with pytest.raises(ValueError, match=r"lacks the columns \['exp', 'fid'\]"):
        load_refavs(tmp_path, "train")


def test_missing_files_are_counted_and_the_first_are_named(synthetic_root, root):
    with pytest.raises(MissingFilesError, match=r"(?s)21 files of split 'test_s'.*v2/frames/0\.jpg \(row v2_cat_1\)"):
        load_refavs(root, "test_s")
    assert len(load_refavs(synthetic_root, "train")) > 20


def test_completions_are_joined_by_uid(root):
    rows = load_refavs(root, "train", check_files=False)
    joined = attach_completions(rows, {"null_c-v1_a_null_1": "N [SEG].", "v1_a_hair-dryer_1": "H [SEG].", "x": "?"})
    assert joined["uid"][:] == ["v1_a_hair-dryer_1", "null_c-v1_a_null_1"]
    assert joined[0]["completion"] == [{"role": "assistant", "content": "H [SEG]."}]
    assert joined[1]["completion"] == [{"role": "assistant", "content": "N [SEG]."}]


def test_dropped_rows_are_logged(root, caplog):
    rows = load_refavs(root, "train", check_files=False)
    attach_completions(rows, {"v1_a_hair-dryer_1": "H [SEG]."})
    assert "Dropped 2 of 3 rows" in caplog.text
    with pytest.raises(ValueError, match="None of the 3 rows has one of the 1 completions"):
        attach_completions(rows, {"x": "?"})


def test_the_whole_table_is_fast(tmp_path):
    rows = [f"clip_{i // 7},clip_{i // 7}_cat_{i},train,0,The object number {i}." for i in range(20_459)]
    root = write_table(tmp_path, rows)
    start = time.perf_counter()
    assert len(load_refavs(root, "train", check_files=False)) == 20_459
    assert time.perf_counter() - start < 6  # below 1 s on an idle core
