"""Endless repetition at the end of a text: what a model does that will not stop (paper: where it breaks, 1)."""

_TAIL = 6000
_REPEATS, _SHORTEST = 4, 100


def loops(text: str) -> bool:
    """Whether a text ends in a repetition: at least four times the same, word for word, over at least 100 characters.

    White space counts as one space. The last repetition may be cut off. Only the last 6,000 characters are looked at.
    """
    reverse = " ".join(text.split())[-_TAIL:][::-1]
    matches = _prefix_matches(reverse)
    for period in range(1, len(reverse) // _REPEATS + 1):
        run = period + matches[period]
        if run >= max(_SHORTEST, _REPEATS * period) and any(character.isalnum() for character in reverse[:period]):
            return True
    return False


def _prefix_matches(text: str) -> list[int]:
    """Return for every place how many characters from there on are those the text begins with (the Z function)."""
    matches = [0] * len(text)
    left = right = 0
    for place in range(1, len(text)):
        length = min(right - place, matches[place - left]) if place < right else 0
        while place + length < len(text) and text[length] == text[place + length]:
            length += 1
        matches[place] = length
        if place + length > right:
            left, right = place, place + length
    return matches
