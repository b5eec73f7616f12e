import numpy as np

from demo.figures import Row, draw_figure, overlay

HEADINGS = ("picture", "truth", "before", "after")
COLOURS = {1: ("fish", (128, 0, 0)), 2: ("leaf", (0, 128, 0))}


def test_an_overlay_colours_regions_over_a_grey_picture():
    picture = np.full((8, 8, 3), (200, 100, 0), np.uint8)
    labels = np.zeros((8, 8), np.uint8)
    labels[3:7, 3:7] = 1
    drawn = overlay(picture, labels, COLOURS).astype(int)
    assert np.ptp(drawn[0, 0]) == 0
    assert drawn[3, 3].max() < 50  # the outline
    red, green, blue = drawn[5, 5]
    assert red > green == blue


def test_a_figure_has_a_column_for_every_heading():
    row = Row(np.zeros((32, 32, 3), np.uint8), [np.ones((32, 32), np.uint8)] * (len(HEADINGS) - 1))
    figure = draw_figure(HEADINGS, [row, row], COLOURS)
    assert figure.width > len(HEADINGS) * 32
    assert figure.height > 2 * 32
