"""Scales that can be read: lightness rises evenly, both signs weigh the same, letters stand out."""

from __future__ import annotations

import numpy as np

from moon2.explain.draw.colours import expert_colours, heat, ink_on, signed


def luminance(colours: np.ndarray) -> np.ndarray:
    share = np.asarray(colours) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def test_heat_gets_lighter_all_the_way() -> None:
    light = luminance(heat(np.linspace(0, 1, 65))) ** (1 / 3)
    steps = np.diff(light)
    assert (steps > 0).all() and steps.max() < 3 * steps.mean()


def test_signs_are_different_colours_of_one_lightness() -> None:
    low, high, none = signed(np.array([-1.0, 1.0, 0.0]))
    assert low[2] > low[0] and high[0] > high[2]
    assert abs(luminance(low) - luminance(high)) < 0.06 and luminance(none) > 0.85


def test_letters_stand_out_on_every_colour() -> None:
    for colour in [*heat(np.linspace(0, 1, 9)), *signed(np.linspace(-1, 1, 9)), *expert_colours(8)]:
        darker, lighter = sorted([float(luminance(np.array(colour))), float(luminance(np.array(ink_on(colour))))])
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5
    assert len(set(expert_colours(8))) == 8
