"""One decoding: turned, on white, scaled or refused, and the same for the model, the pictures and the headers."""

import inspect
import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.conftest import SHARED, needs_shared, screen
from vtprune_eval import image_file
from vtprune_eval.errors import SampleError
from vtprune_eval.image_file import flat, image_size, open_image, open_picture

BASE = Image.fromarray(screen(48, 32, 5))


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_and_its_size(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{ending}", BASE, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(open_image(path), wanted)
    assert image_size(path) == (wanted.shape[1], wanted.shape[0]) == ((32, 48) if orientation > 4 else (48, 32))


def test_exif_behind_the_pixels_of_a_png(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    body = b"eXIf" + data
    chunk = len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    path = saved(tmp_path / "a.png", BASE)
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert image_size(path) == (32, 48) == open_image(path).shape[1::-1]


def test_damaged_exif_leaves_the_pixels(tmp_path):
    path = saved(tmp_path / "a.jpg", BASE, exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    assert open_image(path).shape == (32, 48, 3) and image_size(path) == (48, 32)


def transparent(mode):
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, 48, dtype=np.uint8), (32, 1)))
    if mode == "LA":
        return Image.merge("LA", (BASE.convert("L"), alpha))
    rgba = Image.merge("RGBA", (*BASE.split(), alpha))
    return rgba if mode == "RGBA" else rgba.quantize(40)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white_as_the_processor_has_it(tmp_path, mode):
    from transformers.image_transforms import convert_to_rgb

    path = saved(tmp_path / "a.png", transparent(mode))
    with Image.open(path) as image:
        shown = image.convert("RGBA")
        wanted = np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), shown).convert("RGB"))
        if "return_numpy" in inspect.signature(convert_to_rgb).parameters:  # older ones, as on 3.10, drop the alpha
            assert np.array_equal(convert_to_rgb(image, return_numpy=True), wanted)
    assert np.array_equal(open_image(path), wanted)
    with Image.open(path) as image:
        assert not np.array_equal(wanted, np.asarray(image.convert("RGB"))), "what is under the transparency differs"


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV"])
def test_other_modes_are_what_pillow_makes_of_them(mode):
    image = BASE.convert("RGB").quantize(16) if mode == "P" else Image.new(mode, (4, 3))
    assert np.array_equal(np.asarray(flat(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_sixteen_bits_are_scaled(tmp_path, ending):
    values = np.linspace(0, 65535, 48 * 32).reshape(32, 48).round().astype(np.uint16)
    pixels = open_image(saved(tmp_path / f"a.{ending}", Image.fromarray(values)))
    assert np.abs(pixels[..., 0].astype(float) - values / 257).max() <= 0.5
    assert (pixels[..., :1] == pixels).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_range_are_refused(tmp_path, dtype):
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.ones((8, 8), dtype)))
    with pytest.raises(SampleError, match=r"a.tiff: .* no stated range; convert the file to 8 bits") as caught:
        open_image(path)
    assert caught.value.reason == "bad_image"


def header_of(width, height):
    """A PNG of one bit per pixel that says a size and holds nothing."""
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\1\0\0\0\0"), (b"IEND", b"")):
        out += len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    return out


@pytest.mark.parametrize("side", [9_500, 13_900, 14_500, 30_000])
@pytest.mark.parametrize("pillows", [None, 89_478_485, 10**9])
def test_the_limit_is_our_own_and_pillows_is_left_alone(tmp_path, side, pillows, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
    path = tmp_path / "big.png"
    path.write_bytes(header_of(side, side))
    too_many = side**2 > image_file.MAX_FILE_PIXELS
    if too_many:
        with pytest.raises(SampleError, match=rf"big.png: {side}x{side} pixels are more than the 200,000,000"):
            image_size(path)
        with pytest.raises(SampleError, match=r"pixels are more than"):
            open_image(path)
    else:
        assert image_size(path) == (side, side)
    assert not recwarn.list and pillows == Image.MAX_IMAGE_PIXELS


def test_broken_files_are_one_reason(tmp_path):
    stream = io.BytesIO()
    BASE.save(stream, format="PNG")
    whole = stream.getvalue()
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "page": b"<html>not found</html>",
        "text": b"garbage",
    }.items():
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        with pytest.raises(SampleError, match=rf"{name}.png: not a readable image") as caught:
            open_image(path)
        assert caught.value.reason == "bad_image"
        with pytest.raises(SampleError):
            open_image(tmp_path / "elsewhere.png", content)
    with pytest.raises(SampleError, match=r"gone.png: the file is missing"):
        open_image(tmp_path / "gone.png")
    with pytest.raises(SampleError, match="a folder"):
        open_image(tmp_path)


def test_pictures_of_a_run_are_what_the_model_saw(tmp_path):
    from vtprune_eval.data.draw import _opened
    from vtprune_eval.integrations.engine import file_frame
    from vtprune_eval.report.pictures import open_image as shown

    exif = Image.Exif()
    exif[0x0112] = 8
    path = saved(tmp_path / "a.png", transparent("RGBA"), exif=exif)
    seen = open_image(path)
    assert np.array_equal(np.asarray(shown(path)), seen) and np.array_equal(np.asarray(_opened(path)[0]), seen)
    assert np.array_equal(np.asarray(open_picture(path)), seen)
    assert file_frame([path], "hundredths")["file_sizes"] == [[32, 48]]


@needs_shared("public_inputs/images")
def test_published_faults():
    folder = SHARED / "public_inputs" / "images"
    upright = open_image(folder / "upright_reference.png").astype(float)
    for name in ("exif3.webp", "gray16.png", "gray16.tif", "exif6.jpg"):
        found = open_image(folder / name)
        assert abs(found.mean() - upright.mean()) < 1, name
    assert open_image(folder / "rgba_black_on_clear.png").mean() > 200
    assert open_image(folder / "ramp16.png").mean() == pytest.approx(127.5, abs=0.1)
    with pytest.raises(SampleError):
        open_image(folder / "i32.tif")
