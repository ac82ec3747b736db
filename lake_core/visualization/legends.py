"""Legends of overlays: bars of colours with their values."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lake_core.visualization.colours import ByteArray, ScoreScale, ValueScale, score_colours, value_colours


def colour_bar(
    scale: ScoreScale, width: int = 360, height: int = 56, dark: bool = False, mark: str = "threshold"
) -> Image.Image:
    """The legend of `overlay`: 0, the threshold (a white line cased in black, as in the images), and vmax.

    Args:
        scale: The scale.
        width, height: Of the legend in pixels.
        dark: Light text for a dark page.
        mark: What the threshold is called.
    Returns:
        RGBA on a transparent ground.
    """
    share = scale.threshold / scale.vmax
    middle = [(share, f"{mark} {_number(scale.threshold)}")] if 0 < share <= 1 else []
    ticks = [(0.0, "0"), *middle, (1.0, f"{_number(scale.vmax)}{'+' if scale.is_open else ''}")]
    colours = score_colours(np.linspace(0, 1, width, dtype=np.float32)[None])
    return _bar(colours, ticks, [at for at, _ in middle], height, dark)


def value_colour_bar(scale: ValueScale, width: int = 360, height: int = 56, dark: bool = False) -> Image.Image:
    """The legend of `neuron_overlay`, from -limit or 0 to limit; RGBA."""
    limit = _number(scale.limit)
    ticks = [(0.0, f"-{limit}"), (0.5, "0"), (1.0, f"+{limit}")] if scale.is_signed else [(0.0, "0"), (1.0, limit)]
    colours = value_colours(np.linspace(scale.low, scale.limit, width, dtype=np.float32)[None], scale)
    return _bar(colours, ticks, [], height, dark)


def _bar(
    colours: ByteArray, ticks: list[tuple[float, str]], marks: list[float], height: int, dark: bool
) -> Image.Image:
    """A bar of colours (1, width, 3) with text at shares of its width; where two texts would touch, the ends go."""
    width = colours.shape[1]
    text_size = max(9, min(15, round(height * 0.3)))
    bar_height = max(4, height - text_size - 8)
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    strip = Image.fromarray(np.repeat(colours, bar_height, axis=0))
    image.paste(strip, (0, 0))
    draw = ImageDraw.Draw(image)
    for share in marks:
        x = min(max(round(share * (width - 1)), 2), width - 4)
        draw.rectangle((x - 2, 0, x + 3, bar_height - 1), fill="black")
        draw.rectangle((x, 0, x + 1, bar_height - 1), fill="white")
    font = ImageFont.load_default(size=text_size)
    ink = "#f2f2f2" if dark else "#1a1a1a"
    taken: list[tuple[float, float]] = []
    for share, text in sorted(ticks, key=lambda tick: tick[0] in (0.0, 1.0)):
        length = draw.textlength(text, font=font)
        x = min(max(share * (width - 1) - length / 2, 0), width - length)
        if all(x > end + 6 or x + length < start - 6 for start, end in taken):
            draw.text((x, bar_height + 4), text, fill=ink, font=font)
            taken.append((x, x + length))
    return image


def _number(value: float) -> str:
    return f"{value:.3g}"
