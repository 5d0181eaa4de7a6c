"""Numbers that count something."""

import numpy as np
import pytest

from stochwm._counts import checked_count


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_counts_of_python_and_numpy(value):
    count = checked_count("steps", value)
    assert (count, type(count)) == (3, int)


@pytest.mark.parametrize("value", [0, -1, 2.0, np.float32(2), True, np.True_, None, "3", [3]])
def test_what_is_no_count_is_named(value):
    with pytest.raises(ValueError, match=r"steps must be a whole number, at least 1, but is"):
        checked_count("steps", value)
