"""Curves and charts, by what is drawn in them."""

from types import SimpleNamespace

import numpy as np

from cereals_tf.report import figures


def test_curves_over_clicks_of_unknown_share_count_them():
    rounds = [
        SimpleNamespace(round=0, miou=0.2, pixels_percent=5.0, clicks_percent=6.0, clicks=60),
        SimpleNamespace(round=1, miou=0.3, pixels_percent=9.0, clicks_percent=None, clicks=80),
    ]
    figure = figures.learning_curves({"mine": rounds})
    (line,) = figure.axes[1].get_lines()
    np.testing.assert_allclose(line.get_xdata(), [60, 80])
    assert "%" not in figure.axes[1].get_xlabel()


def test_curves_of_several_campaigns_are_told_apart():
    rounds = [
        SimpleNamespace(round=r, miou=0.2 + 0.1 * r, pixels_percent=5.0 * r, clicks_percent=6.0 * r)
        for r in range(3)
    ]
    figure = figures.learning_curves({"mine": rounds, "other $": rounds[:2]})
    for chart in figure.axes:
        drawn = {line.get_label(): line for line in chart.get_lines()}
        assert list(drawn) == ["mine", r"other \$"]
        assert len({line.get_color() for line in drawn.values()}) == 2
        np.testing.assert_allclose(drawn["mine"].get_ydata(), [0.2, 0.3, 0.4])
        assert [text.get_text() for text in chart.get_legend().get_texts()] == list(drawn)
    assert figures.learning_curves({"mine": rounds}).axes[0].get_legend() is None
