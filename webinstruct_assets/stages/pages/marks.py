"""Characters of the private use area that stand in text for what is still to be finished: formulas, scripts, code, breaks.

``scan`` writes some, ``text_math`` others; ``finished`` turns those of formulas and code into Markdown.
"""

import re

INLINE_OPEN, INLINE_CLOSE, DISPLAY_OPEN, DISPLAY_CLOSE = "\ue000", "\ue001", "\ue002", "\ue003"
SUB_OPEN, SUP_OPEN, SCRIPT_CLOSE = "\ue004", "\ue005", "\ue006"
CODE_OPEN, CODE_CLOSE, BREAK = "\ue007", "\ue008", "\ue009"
PRIVATE = re.compile("[\ue000-\ue00f]")


def finished(text: str) -> str:
    """``text`` with the private marks as Markdown: ``$…$``, ``$$…$$``, back-ticked code."""
    text = (
        text.replace(INLINE_OPEN, "$")
        .replace(INLINE_CLOSE, "$")
        .replace(DISPLAY_OPEN, "$$")
        .replace(DISPLAY_CLOSE, "$$")
    )
    return text.replace(CODE_OPEN, "`").replace(CODE_CLOSE, "`")
