r"""AsciiMath to TeX: ``sum_(i=1)^n i^3 = ((n(n+1))/2)^2`` to ``\sum_{i=1}^{n} i^{3} = \left(\frac{n(n+1)}{2}\right)^{2}``.

Grammar and symbols: http://asciimath.org. Text goes in as it stands between AsciiMath's delimiters; TeX comes out.
A formula that is not AsciiMath comes out with its unknown characters as they are: nothing is lost.
"""

import re

MAX_CHARS = 2_000  # longer texts are no formulas
MAX_DEPTH = 40

_SAME = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega sum prod int oint lim sin cos tan sec csc cot sinh "
    "cosh tanh log ln exp det dim gcd min max sup inf arcsin arccos arctan times div cdot ast star circ oplus otimes wedge vee "
    "cap cup le leq ge geq ne prec succ in notin subset supset subseteq supseteq equiv cong approx propto neg implies iff forall "
    "exists bot top vdash models partial nabla pm emptyset infty aleph ldots cdots vdots ddots therefore because angle triangle "
    "diamond square quad rarr larr uparrow downarrow rightarrow leftarrow to mapsto Rightarrow Leftarrow sub sup mod frown"
)
SYMBOLS = {name: f"\\{name}" for name in _SAME.split()} | {
    "**": "\\ast", "***": "\\star", "//": "/", "\\\\": "\\backslash", "xx": "\\times", "-:": "\\div", "@": "\\circ", "o+": "\\oplus",
    "ox": "\\otimes", "^^": "\\wedge", "^^^": "\\bigwedge", "vv": "\\vee", "vvv": "\\bigvee", "nn": "\\cap", "nnn": "\\bigcap",
    "uu": "\\cup", "uuu": "\\bigcup", "!=": "\\ne", "<=": "\\le", ">=": "\\ge", "-<": "\\prec", ">-": "\\succ", "!in": "\\notin",
    "sub": "\\subset", "sup": "\\supset", "sube": "\\subseteq", "supe": "\\supseteq", "-=": "\\equiv", "~=": "\\cong",
    "~~": "\\approx", "~": "\\sim", "prop": "\\propto", "and": "\\text{ and }", "or": "\\text{ or }", "not": "\\neg",
    "=>": "\\Rightarrow", "<=>": "\\Leftrightarrow", "if": "\\text{if }", "AA": "\\forall", "EE": "\\exists", "_|_": "\\bot",
    "TT": "\\top", "|--": "\\vdash", "|==": "\\models", "del": "\\partial", "grad": "\\nabla", "+-": "\\pm", "-+": "\\mp",
    "O/": "\\emptyset", "oo": "\\infty", "...": "\\ldots", ":.": "\\therefore", ":'": "\\because", "/_": "\\angle",
    "\\ ": "\\ ", "CC": "\\mathbb{C}", "NN": "\\mathbb{N}", "QQ": "\\mathbb{Q}", "RR": "\\mathbb{R}", "ZZ": "\\mathbb{Z}",
    "uarr": "\\uparrow", "darr": "\\downarrow", "rarr": "\\rightarrow", "->": "\\to", "|->": "\\mapsto", "larr": "\\leftarrow",
    "harr": "\\leftrightarrow", "rArr": "\\Rightarrow", "lArr": "\\Leftarrow", "hArr": "\\Leftrightarrow", "lt": "<", "gt": ">",
    "lcm": "\\operatorname{lcm}", "mod": "\\bmod", "%": "\\%", "#": "\\#", "&": "\\&", "$": "\\$",
    "dx": "dx", "dy": "dy", "dz": "dz", "dt": "dt",
}  # fmt: skip
UNARY = {
    "sqrt": "\\sqrt", "abs": "\\left|{}\\right|", "norm": "\\left\\|{}\\right\\|", "floor": "\\left\\lfloor{}\\right\\rfloor",
    "ceil": "\\left\\lceil{}\\right\\rceil", "hat": "\\hat", "bar": "\\overline", "ul": "\\underline", "vec": "\\vec",
    "dot": "\\dot", "ddot": "\\ddot", "tilde": "\\tilde", "overline": "\\overline", "underline": "\\underline",
    "overarc": "\\overset{\\frown}", "cancel": "\\cancel", "bb": "\\mathbf", "bbb": "\\mathbb", "cc": "\\mathcal",
    "tt": "\\mathtt", "fr": "\\mathfrak", "sf": "\\mathsf", "ubrace": "\\underbrace", "obrace": "\\overbrace",
}  # fmt: skip
BINARY = {"frac": "\\frac{{{0}}}{{{1}}}", "root": "\\sqrt[{0}]{{{1}}}", "stackrel": "\\overset{{{0}}}{{{1}}}",
          "overset": "\\overset{{{0}}}{{{1}}}", "underset": "\\underset{{{0}}}{{{1}}}", "color": "{1}"}  # fmt: skip
OPEN = {"(": "(", "[": "[", "{": "\\{", "(:": "\\langle", "<<": "\\langle", "{:": "."}
CLOSE = {")": ")", "]": "]", "}": "\\}", ":)": "\\rangle", ">>": "\\rangle", ":}": "."}
_WORDS = sorted([*SYMBOLS, *UNARY, *BINARY, *OPEN, *CLOSE, "text", "mbox", "^", "_", "/"], key=len, reverse=True)
TOKEN = re.compile(
    r'\s*(?:"(?P<quoted>[^"]*)"|(?:text|mbox)\s*\((?P<text>[^)]*)\)|(?P<number>\d+(?:[.,]\d+)*)|(?P<word>'
    + "|".join(map(re.escape, _WORDS))
    + r")|(?P<other>\S))",
)


def to_tex(source: str) -> str:
    """TeX of an AsciiMath formula."""
    source = " ".join(source.split())
    if len(source) > MAX_CHARS:
        return f"\\text{{{source}}}"
    return _Parser(source).expression(0, "")


class _Parser:
    """Recursive descent; a token is (kind, text)."""

    def __init__(self, source: str):
        self._tokens = [(found.lastgroup or "", found[found.lastgroup or 0]) for found in TOKEN.finditer(source)]
        self._at = 0

    def _peek(self) -> str:
        """The next token if it is a word, "" otherwise."""
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "word":
            return self._tokens[self._at][1]
        return ""

    def expression(self, depth: int, end: str) -> str:
        """Terms up to a closing bracket (``end`` not empty) or the end."""
        out: list[str] = []
        while self._at < len(self._tokens):
            word = self._peek()
            if end and word in CLOSE:
                break
            if word == "/" and out:
                self._at += 1
                below = self._inner(self._scripted(depth))
                out[-1] = f"\\frac{{{self._inner(out[-1])}}}{{{below}}}"
                continue
            out.append(self._scripted(depth))
        return _joined(out)

    def _scripted(self, depth: int) -> str:
        base = self._simple(depth)
        lower = upper = ""
        if self._peek() == "_":
            self._at += 1
            lower = f"_{{{self._inner(self._simple(depth))}}}"
        if self._peek() == "^":
            self._at += 1
            upper = f"^{{{self._inner(self._simple(depth))}}}"
        return base + lower + upper

    def _simple(self, depth: int) -> str:
        if self._at >= len(self._tokens):
            return ""
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind in ("quoted", "text"):
            return f"\\text{{{text}}}"
        if kind != "word":
            return text
        if depth < MAX_DEPTH:
            if text in UNARY:
                argument = self._inner(self._simple(depth + 1))
                style = UNARY[text]
                return style.replace("{}", argument) if "{}" in style else f"{style}{{{argument}}}"
            if text in BINARY:
                first, second = (self._inner(self._simple(depth + 1)) for _ in range(2))
                return BINARY[text].format(first, second)
            if text in OPEN:
                return self._bracket(text, depth)
        return SYMBOLS.get(text) or OPEN.get(text) or CLOSE.get(text) or text

    def _bracket(self, opened: str, depth: int) -> str:
        if self._is_matrix(opened):
            return self._matrix(opened, depth)
        body = self.expression(depth + 1, "close")
        closed = self._peek()
        if closed not in CLOSE:
            return OPEN[opened] + body if opened != "{:" else body
        self._at += 1
        left, right = OPEN[opened], CLOSE[closed]
        if left in "([" and right in ")]" and "\\frac" not in body and "\\sum" not in body:
            return f"{left}{body}{right}"
        return f"\\left{left} {body} \\right{right}" if left.startswith("\\l") else f"\\left{left}{body}\\right{right}"

    def _is_matrix(self, opened: str) -> bool:
        """Whether the bracket that just opened holds two or more bracketed rows, commas between them, and nothing else."""
        row = self._peek()
        if opened not in ("[", "(", "{:", "{") or row not in ("[", "("):
            return False
        depth, rows, width, commas = 0, 0, -1, 0
        for kind, text in self._tokens[self._at :]:
            bracket = text if kind == "word" else ""
            if depth == 0 and bracket in CLOSE:
                return rows > 1
            if depth == 0 and not (bracket == row or (kind, text) == ("other", ",")):
                return False
            if bracket in OPEN:
                depth, commas = depth + 1, commas if depth else 0
            elif bracket in CLOSE:
                depth -= 1
                if depth == 0:
                    if width not in (-1, commas):
                        return False
                    width, rows = commas, rows + 1
            elif depth == 1 and text == ",":
                commas += 1
        return False

    def _matrix(self, opened: str, depth: int) -> str:
        """``[[a,b],[c,d]]``, behind its first bracket."""
        rows: list[str] = []
        while self._peek() in OPEN:
            self._at += 1
            cells: list[list[str]] = [[]]
            while self._at < len(self._tokens) and self._peek() not in CLOSE:
                if self._tokens[self._at] == ("other", ","):
                    cells.append([])
                    self._at += 1
                else:
                    cells[-1].append(self._scripted(depth + 1))
            self._at += 1
            rows.append(" & ".join(_joined(cell) for cell in cells))
            if self._at < len(self._tokens) and self._tokens[self._at] == ("other", ","):
                self._at += 1
        closed = self._peek()
        self._at += closed in CLOSE
        body = " \\\\ ".join(rows)
        return f"\\left{OPEN[opened]}\\begin{{matrix}} {body} \\end{{matrix}}\\right{CLOSE.get(closed, '.')}"

    @staticmethod
    def _inner(tex: str) -> str:
        """An argument without the brackets that only group it."""
        for opened, closed in (
            ("\\left(", "\\right)"),
            ("\\left[", "\\right]"),
            ("\\left\\{", "\\right\\}"),
            ("(", ")"),
            ("[", "]"),
        ):
            if tex.startswith(opened) and tex.endswith(closed) and _matched(tex, opened, closed):
                return tex[len(opened) : -len(closed)]
        return tex


def _matched(tex: str, opened: str, closed: str) -> bool:
    """Whether the first bracket of ``tex`` closes at its end."""
    depth, at = 0, 0
    while at < len(tex):
        if tex.startswith(opened, at):
            depth, at = depth + 1, at + len(opened)
        elif tex.startswith(closed, at):
            depth, at = depth - 1, at + len(closed)
            if depth == 0:
                return at == len(tex)
        else:
            at += 1
    return False


def _joined(pieces: list[str]) -> str:
    out = ""
    for piece in pieces:
        if piece[:1].isalpha() and re.search(r"\\[A-Za-z]+$", out[-30:]):
            out += " "
        out += piece
    return out
