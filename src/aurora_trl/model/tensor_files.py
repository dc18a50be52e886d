"""PyTorch's checkpoint files, read without running what may be in them."""

import pickle
from pathlib import Path

import torch


def load_tensors(path: str | Path):
    """
    `torch.load` of tensors and plain containers only, memory-mapped, with errors that say what to do.

    Args:
        path (`str` or `Path`): A `.pt`, `.pth` or `.bin` file.

    Raises:
        ValueError: if the file is cut off, no checkpoint at all, or would run code when it is loaded.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} can't be loaded safely: it is no checkpoint, or it holds objects that would run code "
            f"({str(error).splitlines()[0]}). Save its tensors alone: `torch.save(model.state_dict(), …)`."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no checkpoint of PyTorch ({str(error).splitlines()[0]}). Fetch it again and "
            "compare its size."
        ) from error
