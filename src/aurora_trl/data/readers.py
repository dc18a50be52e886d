"""One door to every data set: the layout is told by what lies in the data root."""

from pathlib import Path

from datasets import Dataset

from aurora_trl.data import avsbench, refavs
from aurora_trl.data.custom import load_jsonl
from aurora_trl.data.rows import MissingFilesError


def load_split(root: str | Path, split: str, system_prompt: str | None = None) -> Dataset:
    """
    Rows of one split, whatever the layout.

    Args:
        root (`str` or `Path`):
            A folder with `metadata.csv` (Ref-AVS), one with `s4_meta_data.csv` or `ms3_meta_data.csv` (AVSBench), or a
            `.jsonl` file (your own clips, which have no splits: `split` is then only a name).
        split (`str`):
            Of the data set.
        system_prompt (`str`, *optional*):
            Text of a system turn before the user's.

    Raises:
        MissingFilesError: if the root holds none of these.
        ValueError: as the readers raise.
    """
    root = Path(root)
    if root.suffix == ".jsonl":
        return load_jsonl(root, system_prompt=system_prompt)
    if (root / refavs.TABLE).is_file():
        return refavs.load_refavs(root, split, system_prompt)
    subsets = [subset for subset in avsbench.FOLDERS if (root / f"{subset}_meta_data.csv").is_file()]
    if len(subsets) > 1:
        raise ValueError(f"{root} holds the tables of {' and '.join(subsets)}: give a folder with one of them.")
    for subset in subsets:
        return avsbench.load_avsbench(root, split, subset, system_prompt)
    raise MissingFilesError(
        f"{root} is no data root: it has no {refavs.TABLE} (Ref-AVS), no "
        f"{' or '.join(f'{subset}_meta_data.csv' for subset in avsbench.FOLDERS)} (AVSBench: give its folder "
        f"{' or '.join(avsbench.FOLDERS.values())}), and is no .jsonl file (your own clips)."
    )


def load_splits(root: str | Path, splits: str, system_prompt: str | None = None) -> dict[str, Dataset]:
    """
    Rows of several splits by name.

    Args:
        root (`str` or `Path`): See [`load_split`].
        splits (`str`): Names with commas between them, as "test_s,test_u,test_n".
        system_prompt (`str`, *optional*): See [`load_split`].
    """
    names = [name.strip() for name in splits.split(",")]
    if len(set(names)) < len(names) or not all(names):
        raise ValueError(f"The splits {splits!r} are not names with commas between them, each once.")
    if Path(root).suffix == ".jsonl" and len(names) > 1:
        raise ValueError(f"{root} has no splits, so {splits!r} would be the same rows again. Give one name.")
    return {name: load_split(root, name, system_prompt) for name in names}


def find_new_categories(root: str | Path) -> frozenset[str]:
    """The categories of the unseen split that train does not have; none where there is no such split."""
    table = Path(root) / refavs.TABLE
    return refavs.new_categories(table) if table.is_file() else frozenset()
