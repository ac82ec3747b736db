"""Synthetic defects with their masks, and changes that look like defects and are none.

Every function takes a float image (height, width, 3) in 0 to 255 and a random generator. Defects return the changed
image and a mask (height, width) in 0 to 1; changes that are no defects return the image alone.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.float32]


def smooth_noise(rng: Generator, size: int, cells: int) -> Mask:
    """Noise in 0 to 1, smooth over about `size / cells` pixels."""
    noise = cv2.resize(
        rng.random((cells + 1, cells + 1)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    low, high = float(noise.min()), float(noise.max())
    return (noise - low) / max(high - low, 1e-6)


def blob(rng: Generator, size: int, share: float) -> Mask:
    """A soft-edged blob somewhere in the image, about `share` of its side wide, with a ragged outline."""
    radius = max(3.0, size * share / 2)
    centre = rng.uniform(0.12, 0.88, 2) * size
    angle, aspect = rng.uniform(0, np.pi), rng.uniform(0.4, 1.0)
    rows, cols = np.mgrid[:size, :size].astype(np.float32)
    across, down = cols - centre[0], rows - centre[1]
    u, v = across * np.cos(angle) + down * np.sin(angle), (down * np.cos(angle) - across * np.sin(angle)) / aspect
    ragged = smooth_noise(rng, size, int(rng.integers(6, 24))) - 0.5
    distance = np.sqrt(u * u + v * v) / radius + ragged * rng.uniform(0.2, 1.2)
    softness = rng.uniform(0.05, 0.3)
    return np.clip((1 - distance) / softness, 0, 1).astype(np.float32)


def lines(rng: Generator, size: int, jagged: float, branches: int) -> Mask:
    """Thin lines that begin somewhere and wander; `jagged` is how far they turn at each step, in radians."""
    mask = np.zeros((size, size), np.float32)
    start, heading = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0, 2 * np.pi)
    length, width = rng.uniform(0.1, 0.7) * size, rng.uniform(1.0, 3.5)
    tips = [(start, heading, length, width)]
    for _ in range(branches):
        tips.append((start + rng.normal(0, 0.06 * size, 2), heading + rng.normal(0, 0.8), length * 0.5, width * 0.7))
    bend = rng.normal(0, 0.03)
    for place, direction, left, thick in tips:
        while left > 0:
            step = rng.uniform(4, 12)
            direction += rng.normal(0, jagged) + bend
            there = place + step * np.array([np.cos(direction), np.sin(direction)])
            ends = [tuple(round(16 * float(value)) for value in point) for point in (place, there)]
            cv2.line(mask, ends[0], ends[1], 1.0, max(1, round(thick * rng.uniform(0.7, 1.3))), cv2.LINE_AA, 4)
            place, left = there, left - step
    return cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.4, 0.9)))


def _painted(image: Image, mask: Mask, colour: NDArray[np.float32] | Image, strength: float) -> tuple[Image, Mask]:
    alpha = (mask * strength)[..., None]
    return image * (1 - alpha) + colour * alpha, mask


def _tone(image: Image, mask: Mask, rng: Generator, darker: float) -> NDArray[np.float32]:
    """A colour that stands out a little or a lot from what lies under the mask."""
    under = image[mask > 0.3].mean(0) if (mask > 0.3).any() else image.mean((0, 1))
    shift = rng.uniform(25, 130) * (-1 if rng.random() < darker else 1)
    return np.clip(under + shift + rng.normal(0, 8, 3), 0, 255).astype(np.float32)


def scratch(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    mask = np.zeros(image.shape[:2], np.float32)
    for _ in range(int(rng.integers(1, 5))):
        mask = np.maximum(mask, lines(rng, len(image), rng.uniform(0, 0.08), 0))
    return _painted(image, mask, _tone(image, mask, rng, 0.4), rng.uniform(0.4, 1))


def crack(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    mask = lines(rng, len(image), rng.uniform(0.25, 0.7), int(rng.integers(0, 4)))
    return _painted(image, mask, _tone(image, mask, rng, 0.9), rng.uniform(0.5, 1))


def hole(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    mask = blob(rng, len(image), rng.uniform(0.03, 0.16))
    changed, _ = _painted(image, mask, _tone(image, mask, rng, 0.9) * rng.uniform(0.1, 0.8), rng.uniform(0.8, 1))
    rim = np.clip(cv2.GaussianBlur(mask, (0, 0), 2.0) - mask, 0, 1)
    return changed + rim[..., None] * rng.uniform(-80, 120), mask


def stain(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    mask = blob(rng, len(image), rng.uniform(0.08, 0.4))
    rough = mask * (0.5 + 0.5 * smooth_noise(rng, len(image), int(rng.integers(4, 40))))
    tint = np.clip(image.mean((0, 1)) * rng.uniform(0.2, 1.1, 3) + rng.normal(0, 30, 3), 0, 255).astype(np.float32)
    return _painted(image, rough, tint, rng.uniform(0.35, 0.9))[0], mask


def dent(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    mask = cv2.GaussianBlur(blob(rng, len(image), rng.uniform(0.06, 0.25)), (0, 0), rng.uniform(2, 6))
    down, across = np.gradient(mask)
    angle = rng.uniform(0, 2 * np.pi)
    light = across * np.cos(angle) + down * np.sin(angle)
    light /= np.abs(light).max() + 1e-6
    return image + light[..., None] * rng.uniform(35, 110), (np.abs(light) > 0.12).astype(np.float32) * (mask > 0.05)


def missing_part(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    mask = (blob(rng, len(image), rng.uniform(0.08, 0.3)) > 0.5).astype(np.float32)
    border = np.concatenate([image[:6].reshape(-1, 3), image[-6:].reshape(-1, 3)])
    filling = border[rng.integers(len(border))] + rng.normal(0, 4, image.shape)
    return _painted(image, cv2.GaussianBlur(mask, (0, 0), 0.8), filling.astype(np.float32), 1.0)[0], mask


def contamination(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    mask = np.zeros(image.shape[:2], np.float32)
    for _ in range(int(rng.integers(1, 9))):
        mask = np.maximum(mask, blob(rng, len(image), rng.uniform(0.015, 0.09)))
    foreign = donor if rng.random() < 0.6 else np.broadcast_to(_tone(image, mask, rng, 0.6), image.shape)
    return _painted(image, mask, foreign, rng.uniform(0.6, 1))


def bent(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    size = len(image)
    mask = cv2.GaussianBlur(blob(rng, size, rng.uniform(0.12, 0.35)), (0, 0), 5.0)
    rows, cols = np.mgrid[:size, :size].astype(np.float32)
    strength, angle = rng.uniform(8, 24), rng.uniform(0, 2 * np.pi)
    waves = np.sin(rows / size * rng.uniform(0, 30) + cols / size * rng.uniform(0, 30)) if rng.random() < 0.5 else 1.0
    moved = mask * strength * waves
    across, down = cols + moved * np.cos(angle), rows + moved * np.sin(angle)
    changed = cv2.remap(
        image, across.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    difference = cv2.GaussianBlur(np.abs(changed - image).mean(2), (0, 0), 2.0)
    return changed, (difference > 6).astype(np.float32)


def misprint(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    mask = blob(rng, len(image), rng.uniform(0.08, 0.3))
    if rng.random() < 0.5:
        changed = image[..., rng.permutation(3)] + rng.normal(0, 25, 3)
    else:
        changed = np.roll(image, tuple(int(step) for step in rng.integers(-14, 15, 2)), (0, 1))
    difference = cv2.GaussianBlur(np.abs(changed - image).mean(2), (0, 0), 2.0) > 8
    return _painted(image, mask, changed.astype(np.float32), 1.0)[0], mask * difference


def worn(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    mask = blob(rng, len(image), rng.uniform(0.1, 0.35))
    if rng.random() < 0.5:
        changed = cv2.GaussianBlur(image, (0, 0), rng.uniform(2, 6))
    else:
        changed = (
            image + cv2.GaussianBlur(rng.normal(0, 1, image.shape).astype(np.float32), (0, 0), rng.uniform(0.5, 2)) * 90
        )
    difference = cv2.GaussianBlur(np.abs(changed - image).mean(2), (0, 0), 2.0) > 6
    return _painted(image, mask, changed, rng.uniform(0.6, 1))[0], mask * difference


def foreign_texture(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    noise = smooth_noise(rng, len(image), int(rng.integers(3, 16)))
    mask = cv2.GaussianBlur((noise > rng.uniform(0.72, 0.88)).astype(np.float32), (0, 0), rng.uniform(0.5, 2.5))
    return _painted(image, mask, donor, rng.uniform(0.35, 1))


def misplaced_part(image: Image, rng: Generator, donor: Image) -> tuple[Image, Mask]:
    """A patch of the image itself, moved, without a seam (Poisson blending, as in NSA, arXiv 2109.15222)."""
    size = len(image)
    width, height = (int(side) for side in rng.uniform(0.06, 0.25, 2) * size)
    left, top = int(rng.integers(0, size - width)), int(rng.integers(0, size - height))
    x, y = int(rng.integers(width, size - width)), int(rng.integers(height, size - height))
    source = image if rng.random() < 0.6 else donor
    patch = np.ascontiguousarray(np.clip(source[top : top + height, left : left + width], 0, 255).astype(np.uint8))
    flags = cv2.NORMAL_CLONE if rng.random() < 0.5 else cv2.MIXED_CLONE
    whole = np.full(patch.shape[:2], 255, np.uint8)
    target = np.clip(image, 0, 255).astype(np.uint8)
    changed = cv2.seamlessClone(patch, target, whole, (x, y), flags).astype(np.float32)
    difference = cv2.GaussianBlur(np.abs(changed - image).mean(2), (0, 0), 2.0)
    return changed, (difference > 7).astype(np.float32)


KINDS: dict[str, Callable[[Image, Generator, Image], tuple[Image, Mask]]] = {
    "scratch": scratch,
    "crack": crack,
    "hole": hole,
    "stain": stain,
    "dent": dent,
    "missing part": missing_part,
    "contamination": contamination,
    "bent": bent,
    "misprint": misprint,
    "worn": worn,
    "foreign texture": foreign_texture,
    "misplaced part": misplaced_part,
}
"""Kinds of synthetic defects; those that state phrases name, see `phrases.py`."""


def harmless(image: Image, rng: Generator) -> Image:
    """Changes that are no defects: light, shadow, noise, blur, print, and a mark that repeats regularly."""
    size = len(image)
    if rng.random() < 0.6:
        image = image * rng.uniform(0.7, 1.3) + rng.uniform(-20, 20)
    if rng.random() < 0.3:
        shade = cv2.GaussianBlur(blob(rng, size, rng.uniform(0.5, 1.2)), (0, 0), rng.uniform(8, 30))
        image = image * (1 - shade[..., None] * rng.uniform(-0.25, 0.45))
    if rng.random() < 0.25:
        image = image.mean(2, keepdims=True).repeat(3, 2)
    if rng.random() < 0.2:
        image = _with_print(image, rng)
    if rng.random() < 0.15:
        image = _with_pattern(image, rng)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4))
    return image + rng.normal(0, rng.uniform(0, 5), image.shape)


def _with_print(image: Image, rng: Generator) -> Image:
    printed = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
    text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUXYZ0123456789 -."), int(rng.integers(2, 12))))
    place = tuple(int(value) for value in rng.uniform(0.05, 0.8, 2) * len(image))
    colour = [float(value) for value in rng.uniform(0, 255, 3)]
    cv2.putText(
        printed,
        text,
        place,
        int(rng.integers(0, 5)),
        float(rng.uniform(0.5, 2)),
        colour,
        int(rng.integers(1, 4)),
        cv2.LINE_AA,
    )
    return printed.astype(np.float32)


def _with_pattern(image: Image, rng: Generator) -> Image:
    size, pitch = len(image), int(rng.integers(24, 80))
    rows, cols = np.mgrid[:size, :size]
    if rng.random() < 0.5:
        mark = (rows % pitch < pitch * 0.12) | (cols % pitch < pitch * 0.12)
    else:
        mark = (rows % pitch - pitch / 2) ** 2 + (cols % pitch - pitch / 2) ** 2 < (pitch * rng.uniform(0.1, 0.3)) ** 2
    return image + cv2.GaussianBlur(mark.astype(np.float32), (0, 0), 0.8)[..., None] * rng.uniform(-90, 90)
