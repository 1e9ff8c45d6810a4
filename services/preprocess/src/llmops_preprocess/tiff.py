"""TIFF: how many pages a file has, without decoding a pixel (TIFF 6.0 specification, section 2)."""

MAX_PAGES = 3000
"""What Textract reads of a document at most; a longer chain is broken, or leads back into itself."""
ENTRY_BYTES = 12


def num_pages(content: bytes) -> int:
    """Image directories in the chain; 1 for a picture of another kind. Raises ValueError for a chain that leads out of the file."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(content[:4])
    if order is None:
        return 1
    pages, seen, place = 0, set[int](), number(content, 4, 4, order)
    while place:
        if place in seen or pages == MAX_PAGES:
            raise ValueError("damaged TIFF: its list of pages does not end")
        seen.add(place)
        pages += 1
        place = number(content, place + 2 + ENTRY_BYTES * number(content, place, 2, order), 4, order)
    if not pages:
        raise ValueError("damaged TIFF: it has no page")
    return pages


def number(content: bytes, place: int, size: int, order: str) -> int:
    """An unsigned number of the file."""
    found = content[place : place + size]
    if len(found) < size:
        raise ValueError("damaged TIFF: its list of pages leads out of the file")
    return int.from_bytes(found, "little" if order == "little" else "big")
