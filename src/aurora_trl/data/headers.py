"""What the header of a picture says, without its pixels: for checks of whole data sets."""

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from aurora_trl.data.media import UnreadableMediaError, require_whole_picture


EXIF_ORIENTATION = 0x0112
LYING = (5, 6, 7, 8)  # orientations whose width is the height of what is seen


def picture_size(path: str | Path, is_turned: bool = True) -> tuple[int, int]:
    """
    (width, height) of a picture.

    Args:
        path (`str` or `Path`): A picture of any format.
        is_turned (`bool`, *optional*, defaults to `True`): As it is seen, turned upright; False for a mask, as stored.

    Raises:
        UnreadableMediaError: if it is missing, no picture or cut off.
    """
    try:
        content = Path(path).read_bytes()
        require_whole_picture(path, content)
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
        with Image.open(io.BytesIO(content)) as image:  # after verify() nothing more can be asked
            width, height = image.size
            orientation = image.getexif().get(EXIF_ORIENTATION) if is_turned else None
    except FileNotFoundError as error:
        raise UnreadableMediaError(f"The image {path} does not exist: check the data root.") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, UnreadableMediaError):
            raise
        raise UnreadableMediaError(f"The image {path} is damaged or no picture. Fetch it again.") from error
    return (height, width) if orientation in LYING else (width, height)
