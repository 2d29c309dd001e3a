"""AsciiMath to TeX."""


def to_tex(source: str) -> str:
    return source
