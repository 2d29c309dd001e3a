r"""Mathematics as real sites put it on a page: TeX comes in, the HTML of a formula comes out.

The styles::

    mathjax       the TeX itself between \( \) or \[ \]; MathJax 3 typesets it in the browser
    mathjax2      <script type="math/tex"> with a preview before it, as MathJax 2 leaves it behind
    katex         KaTeX's output: MathML with a TeX annotation, then spans for the eye
    mathml        MathML with a TeX annotation
    mathml-plain  MathML alone
"""

import html
import re
from functools import cache

from webinstruct_assets.core.errors import BadInput

# What a page with mathematics loads in its head.
HEADS = {
    "mathjax": '<script>MathJax = {tex: {inlineMath: [["\\\\(", "\\\\)"]]}};</script>\n'
    '<script id="MathJax-script" async src="/assets/mathjax/tex-chtml.js"></script>',
    "mathjax2": '<script type="text/x-mathjax-config">MathJax.Hub.Config({tex2jax: {inlineMath: '
    '[["\\\\(", "\\\\)"]]}});</script>\n<script src="/assets/mathjax2/MathJax.js?config=TeX-AMS_HTML"></script>',
    "katex": '<link rel="stylesheet" href="/assets/katex/katex.min.css">',
    "mathml": "",
    "mathml-plain": "",
    "none": "",
}


def render_tex(tex: str, display: bool, style: str) -> str:
    """The HTML of one formula in ``style`` (see above; ``none`` is as ``mathjax``)."""
    if style in ("mathjax", "none"):
        left, right = ("\\[", "\\]") if display else ("\\(", "\\)")
        return left + html.escape(tex, quote=False) + right
    if style == "mathjax2":
        kind = "math/tex; mode=display" if display else "math/tex"
        # A script's text is not unescaped by browsers, so it holds the bare TeX.
        return f'<span class="MathJax_Preview"></span><script type="{kind}">{tex}</script>'
    if style == "mathml-plain":
        return _mathml(tex, display)
    annotated = _annotated(tex, display)
    if style == "mathml":
        return annotated
    visible = f'<span class="katex-html" aria-hidden="true">{_glyphs(tex)}</span>'
    formula = f'<span class="katex"><span class="katex-mathml">{annotated}</span>{visible}</span>'
    return f'<span class="katex-display">{formula}</span>' if display else formula


@cache
def _mathml(tex: str, display: bool) -> str:
    from latex2mathml.converter import convert

    try:
        return str(convert(tex, display="block" if display else "inline"))
    except Exception as error:  # its exceptions have no common base
        raise BadInput(f"TeX that cannot be turned into MathML: {tex} ({error!r})", "write it differently") from error


def _annotated(tex: str, display: bool) -> str:
    """MathML with its TeX beside it, as KaTeX and pandoc write it."""
    head, body, tail = re.fullmatch(r"(<math[^>]*>)(.*)(</math>)", _mathml(tex, display), re.DOTALL).groups()  # type: ignore[union-attr]
    annotation = f'<annotation encoding="application/x-tex">{html.escape(tex, quote=False)}</annotation>'
    return f"{head}<semantics>{body}{annotation}</semantics>{tail}"


def _glyphs(tex: str) -> str:
    """The formula's signs in boxes, in the order of the MathML: fractions and powers lose their shape here."""
    boxes = {"mi": "mord mathnormal", "mn": "mord", "mo": "mbin", "mtext": "mord text"}
    signs = re.findall(r"<(mi|mn|mo|mtext)\b[^>]*>([^<]*)</", _mathml(tex, False))
    spans = "".join(f'<span class="{boxes[tag]}">{text}</span>' for tag, text in signs)
    return f'<span class="base"><span class="strut" style="height:1em;vertical-align:-0.25em;"></span>{spans}</span>'
