"""Pictures whose objects are all known, on which a detector is tested while it learns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

# One picture in so many is never shown to the slow half, but says how good it is.
HELD_OUT = 8
# The fast half is tested on so many pictures that came last; again when there are this many
# times as many pictures as before.
N_TESTS = 12
GROWTH = 1.3


class KnownPicture(NamedTuple):
    """A picture and all objects in it.

    Attributes:
        pixels: as a batch of one.
        boxes: of the objects, in pixels of the square.
        labels: of each.
    """

    pixels: UInt8[Tensor, "1 3 side side"]
    boxes: Float[Tensor, "object 4"]
    labels: Int[Tensor, " object"]


class KnownPictures:
    """Those that came last, by their keys, and which of them are to be tested next."""

    def __init__(self) -> None:
        self._pictures: dict[int, KnownPicture] = {}
        self._due: set[int] = set()
        self._n_tested = 0

    def put(self, key: int, picture: KnownPicture) -> None:
        """Have a picture tested, also if it was before."""
        self._pictures[key] = picture
        self._due.add(key)

    def remove(self, keys: Iterable[int]) -> None:
        """Test some pictures no more."""
        for key in keys:
            self._pictures.pop(key, None)
            self._due.discard(key)

    def take_due(self, n_pictures: int) -> list[tuple[int, KnownPicture]]:
        """Those to be tested now; all, whenever there are many more pictures than there were.

        Args:
            n_pictures: of how many something is known.
        """
        if n_pictures >= GROWTH * self._n_tested:
            self._n_tested = n_pictures
            self._due.update(self._pictures)
        due = [(key, self._pictures[key]) for key in self._due]
        self._due.clear()
        return due

    def drop_old(self) -> list[int]:
        """Keep those that came last; gives the keys of the others."""
        old = list(self._pictures)[:-N_TESTS]
        self.remove(old)
        return old


def is_held_out(keys: Int[Tensor, " picture"]) -> Tensor:
    """Whether the slow half never learns from a picture."""
    return keys % HELD_OUT == 0
