"""
What an unfinished evaluation leaves on the disk, so that the next one goes on where it stopped.

Every process appends the batches it has finished to a file of its own; a line that a kill cut off is not read. The
processes share the folder.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aurora_trl.data.jsonl import append_object, open_to_append, read_objects


FOLDER = "partial"
RUN_FILE = "run.json"
# Of each parameter, spread over it, beside its norm: a trained parameter differs in one of them.
NUM_SAMPLED_VALUES = 16


def digest_policy(model: nn.Module) -> str:
    """A hash of every parameter's shape, type, norm and some of its values: another checkpoint has another."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // NUM_SAMPLED_VALUES)][:NUM_SAMPLED_VALUES]
        # Nine digits: the last ones depend on the order in which threads add.
        norm = torch.linalg.vector_norm(flat, dtype=torch.float64 if flat.is_floating_point() else None)
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype} {norm.item():.8e}".encode())
        digest.update(sample.float().cpu().numpy().tobytes())
    return digest.hexdigest()


class Shards:
    """
    Finished batches of one run, by number.

    Args:
        folder (`Path`):
            Of the evaluation; the shards are in a folder of their own inside it.
        run (`Mapping`):
            JSON values that tell this run from others: an unfinished run of other values is not continued.
        process_index (`int`):
            Number of this process.

    Raises:
        ValueError: if the folder holds an unfinished evaluation of another run.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], process_index: int):
        self.folder = folder / FOLDER
        self.run_file = self.folder / RUN_FILE
        self.path = self.folder / f"shard-{process_index}.jsonl"
        self.folder.mkdir(parents=True, exist_ok=True)
        has_batches = any(path.stat().st_size for path in self.folder.glob("shard-*.jsonl"))
        if self.run_file.is_file() and has_batches:
            found = json.loads(self.run_file.read_text())
            if differing := sorted(key for key in {*found, *run} if found.get(key) != run.get(key)):
                raise ValueError(
                    f"{folder} holds an unfinished evaluation of another run: {', '.join(differing)} differ. Delete "
                    f"{self.folder} to start anew, or choose another output folder."
                )
        elif process_index == 0:
            self._remove_batches()  # of a run that was killed while it tidied up
            partial = self.run_file.with_suffix(".tmp")
            partial.write_text(json.dumps(run, indent=2))
            partial.replace(self.run_file)

    def read(self) -> dict[int, list[dict[str, Any]]]:
        """Records of every finished batch, of all processes of all tries."""
        batches: dict[int, list[dict[str, Any]]] = {}
        for path in sorted(self.folder.glob("shard-*.jsonl")):
            for _, finished in read_objects(path):
                batches.setdefault(finished["batch"], finished["records"])
        return batches

    def open(self) -> None:
        """Opens this process's file, behind its last whole line."""
        self._file = open_to_append(self.path)

    def append(self, batch: int, records: list[dict[str, Any]]) -> None:
        """Writes a finished batch; it is on the disk when this returns."""
        append_object(self._file, {"batch": batch, "records": records})

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """Forgets the run, once its report is written; what tells it from others goes last."""
        self._remove_batches()
        self.run_file.unlink()
        self.folder.rmdir()

    def _remove_batches(self) -> None:
        for path in self.folder.glob("shard-*.jsonl"):
            path.unlink()
