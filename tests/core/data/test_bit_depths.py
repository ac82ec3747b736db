"""Values of more than 8 bits are brought to 0..255 by a range that is said."""

import struct

import numpy as np
import pytest
from PIL import Image

from lake_core.data.images import read_image
from lake_core.errors import ImageError
from tests.core.data.files import raw_png


def tag(code: int, value: int) -> bytes:
    return struct.pack("<HHII", code, 4, 1, value)


def raw_tiff(values: np.ndarray, sample_format: int) -> bytes:
    """An uncompressed little-endian TIFF of one channel; sample_format 1 unsigned, 2 signed, 3 float."""
    height, width = values.shape
    bits = values.dtype.itemsize * 8
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, values.nbytes), (339, sample_format)]
    directory = b"".join(tag(code, value) for code, value in tags)
    offset = 8 + values.nbytes
    return (
        b"II*\0"
        + struct.pack("<I", offset)
        + values.tobytes()
        + struct.pack("<H", len(tags))
        + directory
        + struct.pack("<I", 0)
    )


@pytest.mark.parametrize(("colour_type", "n_channels"), [(0, 1), (2, 3)])
def test_16_bit_png_is_scaled_by_its_full_range(colour_type: int, n_channels: int) -> None:
    ramp = np.linspace(0, 65535, 256).astype(">u2")
    rows = b"".join(b"\0" + np.repeat(ramp, n_channels).tobytes() for _ in range(16))
    image = read_image(raw_png(256, 16, 16, colour_type, rows))
    assert np.array_equal(image.rgb[7, :, 0], np.arange(256))
    assert np.array_equal(image.rgb[..., 0], image.rgb[..., 2])


@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_16_bit_grey_is_scaled_in_either_byte_order(byte_order: str) -> None:
    ramp = np.tile(np.arange(0, 65536, 257).astype(byte_order), (16, 1))
    image = Image.frombytes("I;16" if byte_order == "<u2" else "I;16B", (256, 16), ramp.tobytes())
    assert np.array_equal(read_image(image).rgb[3, :, 1], np.arange(256))


def test_16_bit_tiff_with_12_bits_of_light_says_that_it_is_dark() -> None:
    ramp = np.tile(np.linspace(0, 4095, 64).astype("<u2"), (16, 1))
    image = read_image(raw_tiff(ramp, 1), "camera.tif")
    assert image.rgb.max() == 15
    assert "4095" in image.notes[0]


def test_12_bit_tiff_is_scaled_by_its_own_range() -> None:
    ramp = np.tile(np.arange(0, 4096, 16), (16, 1))
    bits = (ramp[..., None] >> np.arange(11, -1, -1)) & 1
    packed = np.packbits(bits.astype(np.uint8).reshape(16, -1), axis=1)
    data = raw_tiff(packed, 1).replace(tag(256, packed.shape[1]), tag(256, 256)).replace(tag(258, 8), tag(258, 12))
    image = read_image(data)
    assert np.array_equal(image.rgb[5, :, 0], np.arange(256))
    assert image.notes == ()


@pytest.mark.parametrize(
    ("values", "sample_format", "white"),
    [
        (np.linspace(0, 1, 256, dtype="<f4"), 3, "1"),
        (np.linspace(0, 255, 256, dtype="<f4"), 3, "255"),
        (np.linspace(-3, 9, 256, dtype="<f4"), 3, "9"),
        (np.linspace(0, 65535, 256).astype("<i4"), 2, "65535"),
    ],
)
def test_32_bit_values_take_the_range_that_holds_them(values: np.ndarray, sample_format: int, white: str) -> None:
    image = read_image(raw_tiff(np.tile(values, (16, 1)), sample_format), "depth.tif")
    assert np.array_equal(image.rgb[0, :, 0], np.arange(256))
    assert image.notes[0].endswith(f"as black and {white} as white.")


def test_32_bit_unsigned_values_do_not_wrap() -> None:
    values = np.tile(np.linspace(0, 2**32 - 1, 256).astype("<u4"), (16, 1))
    shown = read_image(raw_tiff(values, 1)).rgb[0, :, 0].astype(int)
    assert (shown[0], shown[-1]) == (0, 255)
    assert (np.diff(shown) >= 0).all()


def test_not_a_number_is_refused() -> None:
    values = np.zeros((16, 16), "<f4")
    values[3, 3] = np.nan
    with pytest.raises(ImageError, match=r"depth.tif .*finite"):
        read_image(raw_tiff(values, 3), "depth.tif")
