"""States of a session of the core, from Python: what is not alike is refused, and the state stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain_graphs
import pytest

from niwaki import _core


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (np.zeros(3, np.float32), ValueError, "State 'seen' is float32 [4], not float32 [3]"),
        (np.zeros((1, 4), np.float32), ValueError, "State 'seen' is float32 [4], not float32 [1, 4]"),
        (np.zeros(0, np.float32), ValueError, "State 'seen' is float32 [4], not float32 [0]"),
        (np.zeros(4, np.int32), ValueError, "State 'seen' is float32 [4], not int32 [4]"),
        (np.zeros(4, np.float64), TypeError, "State 'seen' must be float32, uint8, int8, int32, int64 or bool"),
        ([0.0] * 4, TypeError, "State 'seen' must be a numpy array"),
        (None, TypeError, "State 'seen' must be a numpy array"),
    ],
)
def test_states_of_a_wrong_shape_or_type_are_refused(value: Any, error: type[Exception], says: str) -> None:
    session = _core.Session(_core.Model(plain_graphs.GRAPHS["tokens"]()), 1)
    before = session.get_state("seen")
    with pytest.raises((error, _core.NiwakiError)) as caught:
        session.set_state("seen", value)
    assert says in str(caught.value)
    assert np.array_equal(session.get_state("seen"), before)
    session.set_state("seen", np.arange(8, dtype=np.float32)[::2])  # strides are taken as they are
    assert session.get_state("seen").tolist() == [0, 2, 4, 6]
    with pytest.raises((ValueError, _core.NiwakiError), match="no state 'sen'"):
        session.get_state("sen")
