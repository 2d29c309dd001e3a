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
    "dollar with spaces in prose": ("<p>From $3 to $4 million, and $n > 2$ holds.</p>", r"From \$3 to \$4 million, and $n > 2$ holds."),
    "escaped dollar": (r"<p>It costs \$5, so $p = 5$.</p>", r"It costs \$5, so $p = 5$."),
    "dollar across inline elements": ("<p>Let $a<sub>1</sub> + b$ be.</p>", "Let $a_{1} + b$ be."),
    "bracket with line breaks": ("<p>So \\[<br>a = b<br>\\] holds.</p>", "So $$a = b$$ holds."),
    "paren with entities": (r"<p>If \(a &gt; b &amp; c\) then.</p>", r"If $a > b & c$ then."),
    "mathjax2 display with output": (
        "<p>So <span class='MathJax_Preview' style='color: inherit'></span><div class='MathJax_Display' style='text-align: center'>"
        "<span class='MathJax' id='MathJax-Element-1-Frame' data-mathml='<math><mi>q</mi></math>'><nobr>q</nobr></span></div>"
        "<script type='math/tex; mode=display' id='MathJax-Element-1'>q \\ne 0</script> then.",
        "So\n$$q \\ne 0$$ then.",
    ),
    "mathjax2 svg": (
        "<p>Is <span class='MathJax_Preview'></span><span class='MathJax_SVG' id='m1'><svg><use href='#a'></use></svg></span>"
        "<script type='math/tex' id='m'>k!</script> big?</p>",
        "Is $k!$ big?",
    ),
    "mathjax2 chtml assistive": (
        "<p>Is <span class='MathJax_CHTML'><span class='mjx-math' aria-hidden='true'>x2</span>"
        "<span class='MJX_Assistive_MathML' role='presentation'>" + MATHML.format("") + "</span></span> even?</p>",
        "Is $x^2+1$ even?",
    ),
    "mathjax2 output without script": (
        "<p>Is <span class='MathJax' data-mathml='&lt;math&gt;&lt;mi&gt;z&lt;/mi&gt;&lt;/math&gt;'>z</span> real?</p>", "Is $z$ real?",
    ),
    "mathjax2 cdata": ("<p>So <script type='math/tex'>% <![CDATA[\na < b %]]></script> holds.</p>", "So $a < b$ holds."),
    "mathjax3 display": (
        "<p>Is <mjx-container class='MathJax' jax='CHTML' display='true'><mjx-math></mjx-math><mjx-assistive-mml display='block'>"
        + MATHML.format(" display='block'") + "</mjx-assistive-mml></mjx-container> even?</p>",
        "Is $$x^2+1$$ even?",
    ),
    "mathjax3 svg with annotation": (
        "<p>Is <mjx-container class='MathJax' jax='SVG'><svg><g></g></svg><mjx-assistive-mml>" + ANNOTATED
        + "</mjx-assistive-mml></mjx-container> so?</p>",
        "Is $E=mc^2$ so?",
    ),
    "mathjax4 latex attribute": (
        "<p>Is <mjx-container class='MathJax' jax='CHTML'><mjx-math data-latex='x^{2}'><mjx-mi data-latex='x'></mjx-mi></mjx-math></mjx-container> it?</p>",
        "Is $x^{2}$ it?",
    ),
    "katex in a heading": (
        "<h2>Why <span class='katex'><span class='katex-mathml'>" + ANNOTATED + "</span><span class='katex-html'>E</span></span>?</h2><p>So.</p>",
        "## Why $E=mc^2$?\nSo.",
    ),
    "two katex in one line": (
        "<p>" + " and ".join(["<span class='katex'><span class='katex-mathml'>" + ANNOTATED
                              + "</span><span class='katex-html' aria-hidden='true'>E</span></span>"] * 2) + ".</p>",
        "$E=mc^2$ and $E=mc^2$.",
    ),
    "wikipedia display": (
        "<p>By</p><dl><dd><span class='mwe-math-element mwe-math-element-block'><span class='mwe-math-mathml-display mwe-math-mathml-a11y' "
        "style='display: none;'><math display='block' alttext='{\\displaystyle a}'><semantics><mi>a</mi><annotation encoding='application/x-tex'>"
        "{\\displaystyle a\\neq b}</annotation></semantics></math></span><img src='x.svg' class='mwe-math-fallback-image-display' "
        "alt='{\\displaystyle a\\neq b}'></span></dd></dl>",
        "By\n$$a\\neq b$$",
    ),
    "mathml in a table": (
        "<table><tr><td>x</td><td>" + MATHML.format("") + "</td></tr></table>", "x | $x^2+1$",
    ),
    "mathml in a list": ("<ul><li>First " + MATHML.format("") + "</li></ul>", "- First $x^2+1$"),
    "image alt with delimiters": (r"<p>By <img alt='$a_{1}$' src='i.png'> it is.</p>", "By $a_{1}$ it is."),
    "wordpress with escapes": (
        "<p>By <img src='https://s0.wp.com/latex.php?latex=%5Cdisplaystyle+x%2By&#038;bg=ffffff&#038;fg=000' alt='\\displaystyle x+y' "
        "title='\\displaystyle x+y' class='latex' /> it is.</p>",
        r"By $\displaystyle x+y$ it is.",
    ),
    "codecogs svg": (r"<p>By <img src='https://latex.codecogs.com/svg.image?\frac{1}{2}' title='half'> it is.</p>", r"By $\frac{1}{2}$ it is."),
    "codecogs gif": ("<p>By <img src='//latex.codecogs.com/gif.latex?%5Cdpi%7B120%7D%20a%5E2'> it is.</p>", "By $a^2$ it is."),
    "asciimath script": ("<p>So <script type='math/asciimath'>sum_(i=1)^n i/2</script> is.</p>", r"So $\sum_{i=1}^{n}\frac{i}{2}$ is."),
    "asciimath backticks": (
        "<script src='/MathJax.js?config=AM_CHTML'></script><p>If `x^2 >= 4` then <code>a^2</code>.</p>", "If $x^{2}\\ge4$ then `a^2`.",
    ),
    "backticks without asciimath": ("<p>If `x^2` then.</p>", "If `x^2` then."),
    "sup after bracket": ("<p>So (a+b)<sup>2</sup> it is.</p>", "So $(a+b)^2$ it is."),
    "sub and sup": ("<p>Take x<sub>1</sub><sup>2</sup> now.</p>", "Take $x_1^2$ now."),
    "footnote": ("<p>It is so.<sup class='reference'><a href='#n'>[1]</a></sup> Yes.</p>", "It is so. Yes."),
    "pre keeps dollars": ("<pre>echo $HOME $x$</pre>", "```\necho $HOME $x$\n```"),
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


def test_formulas_of_a_mixed_page_stay_in_order_and_none_comes_twice() -> None:
    """All encodings one after the other on one page: what each gives alone, in the same order."""
    chosen = {
        name: case for name, case in CORPUS.items() if "asciimath backticks" not in name and "backticks" not in name
    }
    page = extract_page("".join(f"<div><p>Case {number}.</p>{html}</div>" for number, (html, _) in enumerate(chosen.values())).encode(),
                        url="https://a.example/")  # fmt: skip
    assert page.text == "\n".join(f"Case {number}.\n{text}" for number, (_, text) in enumerate(chosen.values()))
