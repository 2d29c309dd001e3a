"""Every encoding of a formula that pages use comes out as TeX, in place and once. A release gate."""

import pytest

from webinstruct_assets.stages.pages.html import extract_page

MATHML = "<math{0}><msup><mi>x</mi><mn>2</mn></msup><mo>+</mo><mn>1</mn></math>"
ANNOTATED = (
    "<math><semantics><mrow><mi>E</mi><mo>=</mo><mi>m</mi></mrow>"
    "<annotation encoding='application/x-tex'>E=mc^2</annotation></semantics></math>"
)

CORPUS = {
    "dollar": ("<p>Let $a^2+b^2$ be it.</p>", "Let $a^2+b^2$ be it."),
    "paren": (r"<p>Let \(a &lt; b\) hold.</p>", "Let $a < b$ hold."),
    "bracket": (r"<p>So \[ \frac{1}{2} \] holds.</p>", r"So $$\frac{1}{2}$$ holds."),
    "double dollar": (r"<p>So $$\frac{1}{2}$$ holds.</p>", r"So $$\frac{1}{2}$$ holds."),
    "environment": (r"<p>\begin{align} a &amp;= b \\ c &amp;= d \end{align}</p>", r"$$\begin{align} a &= b \\ c &= d \end{align}$$"),
    "prose dollars": ("<p>It costs $5 here and $7 there.</p>", r"It costs \$5 here and \$7 there."),
    "price and formula": (r"<p>Pay $5 for \(x^2\) now.</p>", r"Pay \$5 for $x^2$ now."),
    "mathjax2 inline": (
        "<p>Let <span class='MathJax_Preview'>x²</span><span class='MathJax'><nobr>x2</nobr></span>"
        "<script type='math/tex'>x^2 < 3</script> be.</p>",
        "Let $x^2 < 3$ be.",
    ),
    "mathjax2 display": ("<p>So <script type='math/tex; mode=display'>\\sum_i i</script> is.</p>", r"So $$\sum_i i$$ is."),
    "mathjax2 mathml": ("<p>So <script type='math/mml'>" + MATHML.format("") + "</script>.</p>", "So $x^2+1$."),
    "mathjax3": (
        "<p>Is <mjx-container><mjx-math aria-hidden='true'><mjx-c>x</mjx-c></mjx-math><mjx-assistive-mml>"
        + MATHML.format("") + "</mjx-assistive-mml></mjx-container> even?</p>",
        "Is $x^2+1$ even?",
    ),
    "katex": (
        "<p>By <span class='katex'><span class='katex-mathml'>" + ANNOTATED + "</span>"
        "<span class='katex-html' aria-hidden='true'>E=mc2</span></span> it is.</p>",
        "By $E=mc^2$ it is.",
    ),
    "katex display": (
        "<p>By <span class='katex-display'><span class='katex'><span class='katex-mathml'>" + ANNOTATED
        + "</span><span class='katex-html'>E</span></span></span> it is.</p>",
        "By $$E=mc^2$$ it is.",
    ),
    "mathml annotated": ("<p>By " + ANNOTATED + " it is.</p>", "By $E=mc^2$ it is."),
    "mathml alttext": ("<p>By " + MATHML.format(" alttext='x^{2}+1'") + " it is.</p>", "By $x^{2}+1$ it is."),
    "mathml pure": ("<p>By " + MATHML.format("") + " it is.</p>", "By $x^2+1$ it is."),
    "mathml display": ("<p>By " + MATHML.format(" display='block'") + " it is.</p>", "By $$x^2+1$$ it is."),
    "wikipedia": (
        "<p>By <span class='mwe-math-element'><span class='mwe-math-mathml-inline' style='display: none;'>"
        "<math alttext='{\\displaystyle E=mc^{2}}'><mi>E</mi></math></span>"
        "<img src='x.svg' class='mwe-math-fallback-image-inline' alt='{\\displaystyle E=mc^{2}}'></span> it is.</p>",
        "By $E=mc^{2}$ it is.",
    ),
    "wikipedia image": ("<p>By <img class='mwe-math-fallback-image-inline' alt='{\\displaystyle a_{1}}'> it is.</p>", "By $a_{1}$ it is."),
    "image alt": ("<p>By <img class='latex' alt='a+b' src='i.png'> it is.</p>", "By $a+b$ it is."),
    "image alt by look": (r"<p>By <img alt='\frac{a}{b}' src='i.png'> it is.</p>", r"By $\frac{a}{b}$ it is."),
    "ordinary image": ("<p>By <img alt='a cat' src='i.png'>it is.</p>", "By it is."),
    "wordpress": ("<p>By <img src='https://s0.wp.com/latex.php?latex=a%5E2%2Bb&amp;bg=fff'> it is.</p>", "By $a^2+b$ it is."),
    "codecogs": (r"<p>By <img src='https://latex.codecogs.com/png.latex?\inline%20\sqrt{2}'> it is.</p>", r"By $\sqrt{2}$ it is."),
    "sup": ("<p>The area is x<sup>2</sup> here.</p>", "The area is $x^2$ here."),
    "sub formula": ("<p>Burn K<sub>2</sub>Cr<sub>2</sub>O<sub>7</sub>, please.</p>", r"Burn $\mathrm{K_2Cr_2O_7}$, please."),
    "bracketed formula": ("<p>Add Ca(OH)<sub>2</sub> (not CO<sub>2</sub>) now.</p>", r"Add $\mathrm{Ca(OH)_2}$ (not $\mathrm{CO_2}$) now."),
    "exponent": ("<p>About 3 × 10<sup>-4</sup> m.</p>", "About 3 × $10^{-4}$ m."),
    "ordinal": ("<p>The 21<sup>st</sup> day.</p>", "The 21st day."),
    "code": ("<p>Use <code>$x ** 2$</code> and <code>\\(</code>.</p>", r"Use `$x ** 2$` and `\(`."),
}  # fmt: skip

CONVERSIONS = {
    "<mfrac><mi>a</mi><mi>b</mi></mfrac>": r"\frac{a}{b}",
    "<msqrt><mi>x</mi><mo>+</mo><mn>1</mn></msqrt>": r"\sqrt{x+1}",
    "<mroot><mi>x</mi><mn>3</mn></mroot>": r"\sqrt[3]{x}",
    "<msub><mi>a</mi><mrow><mi>i</mi><mi>j</mi></mrow></msub>": "a_{ij}",
    "<msubsup><mo>∫</mo><mn>0</mn><mi>π</mi></msubsup>": r"\int_0^{\pi}",
    "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><mi>i</mi>": r"\sum_{i=1}^n" + "i",
    "<mi>sin</mi><mi>θ</mi>": r"\sin\theta",
    "<mi>α</mi><mi>x</mi>": r"\alpha x",
    "<mover><mi>x</mi><mo>¯</mo></mover>": r"\overline{x}",
    "<mover><mi>v</mi><mo>→</mo></mover>": r"\vec{v}",
    "<munder><mi>lim</mi><mrow><mi>x</mi><mo>→</mo><mn>0</mn></mrow></munder>": r"\lim_{x\to0}",
    "<mfenced><mi>a</mi><mi>b</mi></mfenced>": r"\left(a,b\right)",
    "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr><mtr><mtd><mn>3</mn></mtd><mtd><mn>4</mn></mtd></mtr></mtable>":
        r"\begin{matrix} 1 & 2 \\ 3 & 4 \end{matrix}",
    "<mi>x</mi><mo>≤</mo><mn>2</mn><mtext>for all</mtext>": r"x\le2\text{for all}",
    "<msup><mrow><mo>(</mo><mi>a</mi><mo>)</mo></mrow><mn>2</mn></msup>": "(a)^2",
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_encoding_becomes_tex(name: str) -> None:
    html, expected = CORPUS[name]
    assert extract_page(f"<body>{html}</body>".encode(), url="https://a.example/").text == expected


@pytest.mark.parametrize("mathml", CONVERSIONS)
def test_mathml_is_converted(mathml: str) -> None:
    page = extract_page(f"<p><math>{mathml}</math></p>".encode(), url="https://a.example/")
    assert page.text == f"${CONVERSIONS[mathml]}$"
