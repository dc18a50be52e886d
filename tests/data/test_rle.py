import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from aurora_trl.data.rle import InvalidRleError, decode_masks, encode_masks


def test_by_hand():
    """Column by column, zeros first: 0 1 | 1 1 | 0 0."""
    masks = np.array([[[0, 1, 0], [1, 1, 0]]], bool)
    assert encode_masks(masks) == [{"size": [2, 3], "counts": [1, 3, 2]}]
    assert encode_masks(np.ones((1, 2, 2), bool)) == [{"size": [2, 2], "counts": [0, 4]}]
    assert encode_masks(np.zeros((1, 2, 2), bool)) == [{"size": [2, 2], "counts": [4]}]


@given(npst.arrays(bool, npst.array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_round_trip_through_json(masks):
    assert np.array_equal(decode_masks(json.loads(json.dumps(encode_masks(masks)))), masks)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "a list with one"),
        ("x", "a list with one"),
        ([{"size": [2, 2], "counts": [3]}], "cover 3 pixels of a mask of size 2 × 2"),
        ([{"size": [2, 2], "counts": [-1, 5]}], "a mask is"),
        ([{"size": [2, 2], "counts": [4.0]}], "a mask is"),
        ([{"size": [10**6, 10**6], "counts": [10**12]}], "damaged"),
        ([{"size": [0, 0], "counts": [0]}], "damaged"),
        ([{"size": [2, 2], "counts": "d0d0:F"}], "compressed string"),
        ([{"size": [1, 2], "counts": [2]}, {"size": [2, 1], "counts": [2]}], "different sizes"),
        ([None], "a mask is"),
    ],
)
def test_what_is_no_mask_is_refused(record, message):
    with pytest.raises(InvalidRleError, match=message):
        decode_masks(record)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner),
    max_leaves=12,
)


@given(json_values)
def test_any_json_value_is_a_mask_or_refused(value):
    with contextlib.suppress(InvalidRleError):
        assert decode_masks(value).dtype == bool
