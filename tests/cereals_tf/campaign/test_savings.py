import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cereals_tf.campaign.savings import TARGET_SHARE, savings, share_at


@pytest.mark.parametrize(
    ("target", "expected"),
    [(0.25, 15.0), (0.3, 20.0), (0.1, 10.0), (0.2, 10.0), (0.45, None), (0.4, 40.0)],
)
def test_share_lies_on_the_line_between_the_rounds_around_the_target(target, expected):
    found = share_at(target, [0.2, 0.3, 0.3, 0.4], [10.0, 20.0, 30.0, 40.0])
    assert found == (None if expected is None else pytest.approx(expected))


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.floats(0.01, 1),
)
def test_share_is_where_the_curve_first_reaches_the_target(mious, target):
    shares = np.linspace(5, 80, len(mious))
    found = share_at(target, mious, list(shares))
    dense = np.linspace(shares[0], shares[-1], 20001)
    reached = dense[np.interp(dense, shares, mious) >= target]
    if found is None:
        assert max(mious) < target
    elif reached.size:
        assert found <= reached[0] + 1e-9
        assert np.interp(found, shares, mious) == pytest.approx(target) or found == shares[0]


def test_status_tells_p95_and_c95_against_a_reference(cereals, three_rounds):
    folder = three_rounds.folder
    status, printed, _ = cereals("status", folder, f"--reference={folder}", "--json")
    content = json.loads(printed)
    metrics = [done.metrics for done in three_rounds.rounds()]
    full = max(part.miou for part in metrics)
    assert status == 0 and content["reference_miou"] == full
    for name, kind in (("p95", "pixels_percent"), ("c95", "clicks_percent")):
        shares = [getattr(part, kind) for part in metrics]
        expected = share_at(TARGET_SHARE * full, [part.miou for part in metrics], shares)
        assert content[name] == expected and shares[0] <= expected <= shares[-1]
    _, table, _ = cereals("status", folder, f"--reference={folder}")
    assert f"p95 {content['p95']:.1f} %" in table


def test_clicks_that_nobody_knows_save_an_unknown_share():
    def campaign(*mious):
        metrics = [
            SimpleNamespace(miou=m, pixels_percent=50 * r, clicks_percent=None)
            for r, m in enumerate(mious)
        ]
        rounds = [SimpleNamespace(metrics=part) for part in metrics]
        return SimpleNamespace(rounds=lambda: rounds, round=lambda number: rounds[-1])

    found = savings(campaign(0.0, 0.8), campaign(0.8))
    assert found == {"reference_miou": 0.8, "p95": pytest.approx(47.5), "c95": None}
