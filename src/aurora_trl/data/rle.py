"""
Masks as run lengths, COCO's uncompressed RLE: `{"size": [h, w], "counts": [zeros, ones, zeros, …]}`, column by column.

Knows arrays and JSON values only. Decoding accepts any JSON value and refuses what is no mask by name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool


MAX_PIXELS = 2**28  # of one mask: 16,384 × 16,384. A record that claims more is refused before memory is taken.


class InvalidRleError(ValueError):
    """A run-length encoding that is no mask."""


def encode_masks(masks: Bool[np.ndarray, "t h w"]) -> list[dict[str, list[int]]]:
    """
    Run lengths of every frame's mask.

    Args:
        masks (`np.ndarray`): bool (t, h, w).
    """
    encoded = []
    for mask in masks:
        flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
        changes = np.flatnonzero(flat[1:] != flat[:-1])
        edges = np.concatenate([[0], changes, [mask.size]])
        counts = np.diff(edges).tolist()
        encoded.append({"size": list(mask.shape), "counts": counts if counts[-1] or len(counts) == 1 else counts[:-1]})
    return encoded


def decode_masks(encoded: Sequence[Mapping[str, Any]]) -> Bool[np.ndarray, "t h w"]:
    """
    Masks of run lengths.

    Args:
        encoded (list of mappings): Of [`encode_masks`], or of any program that writes COCO's uncompressed RLE.

    Raises:
        InvalidRleError: if it is not a list of such masks, all of one size.
    """
    if not isinstance(encoded, list | tuple) or not encoded:
        raise InvalidRleError(
            f"Masks must be a list with one run-length encoding per frame, not {encoded!r:.60}. Encode it again."
        )
    masks = [_decode(record, f"frame {number}") for number, record in enumerate(encoded)]
    if len({mask.shape for mask in masks}) > 1:
        raise InvalidRleError(
            f"The masks of a clip have different sizes: {sorted({mask.shape for mask in masks})}. Encode them at one."
        )
    return np.stack(masks)


def _decode(record: Any, where: str) -> Bool[np.ndarray, "h w"]:
    size, counts = (record.get(key) for key in ("size", "counts")) if isinstance(record, Mapping) else (None, None)
    if isinstance(counts, str):
        raise InvalidRleError(
            f"{where}: `counts` is COCO's compressed string. Write run lengths: "
            "`pycocotools.mask.decode`, then `aurora_trl.data.rle.encode_masks`."
        )
    if not _are_whole(size) or len(size) != 2 or not _are_whole(counts):
        raise InvalidRleError(
            f"{where}: a mask is {{'size': [h, w], 'counts': [whole numbers]}}, not {record!r:.60}. Encode it again."
        )
    num_pixels = size[0] * size[1]
    if not 0 < num_pixels <= MAX_PIXELS or sum(counts) != num_pixels:
        raise InvalidRleError(
            f"{where}: the runs cover {sum(counts)} pixels of a mask of size {size[0]} × {size[1]} (at most "
            f"{MAX_PIXELS}). The record is damaged."
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def _are_whole(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(type(value) is int and value >= 0 for value in values)
