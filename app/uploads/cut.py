"""How large uploads are cut into parts."""

from dataclasses import dataclass

MOST_PARTS = 2000


@dataclass(frozen=True)
class Parts:
    """How an upload is cut: all parts but the last have the same bytes; they count from 1."""

    bytes: int
    part_bytes: int

    @property
    def count(self) -> int:
        """How many there are."""
        return -(-self.bytes // self.part_bytes)

    def offset(self, number: int) -> int:
        """Return where a part begins."""
        return (number - 1) * self.part_bytes

    def size(self, number: int) -> int:
        """Return how many bytes a part has."""
        return min(self.part_bytes, self.bytes - self.offset(number))
