"""Say which picture formats are read, and turn pixels of any mode into RGB. Pillow and the standard library only.

Decoding processes import this within milliseconds, so HEIC's decoder is loaded when the first such file comes.
"""

from __future__ import annotations

from PIL import AvifImagePlugin, Image

from user_errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
CONTAINERS = ("AVIF", "HEIF")  # of ISO media files, in the order to try: HEIF's decoder cannot read an AVIF
NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
BRANDS = {b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
ORIENTATION_TAG = 274  # EXIF
PAPER = "white"  # what shows through transparent pixels


def is_container(start: bytes) -> bool:
    """Tell from a file's first 12 bytes whether it is an AVIF or HEIC file."""
    return start[4:8] == b"ftyp" and start[8:12] in BRANDS


def register_heif() -> None:
    """Let Pillow open HEIC files as it opens AVIF ones, each with one thread: threads reserve much address space."""
    from pi_heif import register_heif_opener

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the same pixels as RGB: 16 bits are scaled and not clipped, transparent pixels show white paper.

    Args:   image: of any mode. EXIF is left as it is.
    Raises: UserError: its numbers are not colours (modes I, F and LAB).
    """
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits at 255 instead of scaling them
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("RGB")
    if image.mode in ("I", "F", "LAB"):
        raise UserError(f"This picture holds {image.mode} numbers and not colours: save it as 8-bit RGB.")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    paper = Image.new("RGB", image.size, PAPER)
    paper.paste(layer, mask=layer)
    return paper
