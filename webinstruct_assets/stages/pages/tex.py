"""TeX as text: commands of single characters, and formulas without what pages put around them."""

import re

from webinstruct_assets.stages.pages.marks import PRIVATE

# A character and its command, in turn.
_COMMANDS = """
α alpha  β beta  γ gamma  δ delta  ε varepsilon  ϵ epsilon  ζ zeta  η eta  θ theta  ϑ vartheta  ι iota  κ kappa
λ lambda  μ mu  µ mu  ν nu  ξ xi  π pi  ρ rho  σ sigma  ς varsigma  τ tau  υ upsilon  φ varphi  ϕ phi  χ chi
ψ psi  ω omega  Γ Gamma  Δ Delta  Θ Theta  Λ Lambda  Ξ Xi  Π Pi  Σ Sigma  Υ Upsilon  Φ Phi  Ψ Psi  Ω Omega
∞ infty  ∂ partial  ∇ nabla  ∑ sum  ∏ prod  ∫ int  ∬ iint  ∮ oint  √ surd  ± pm  ∓ mp  × times  ÷ div  · cdot
⋅ cdot  ∗ ast  ∘ circ  ≤ le  ≥ ge  ≠ ne  ≈ approx  ≡ equiv  ∼ sim  ≃ simeq  ≅ cong  ∝ propto  ≪ ll  ≫ gg  ∈ in
∉ notin  ∋ ni  ⊂ subset  ⊆ subseteq  ⊃ supset  ⊇ supseteq  ∪ cup  ∩ cap  ∖ setminus  ∅ emptyset  ∀ forall
∃ exists  ¬ neg  ∧ wedge  ∨ vee  ⊕ oplus  ⊗ otimes  ⊥ perp  ∥ parallel  ∠ angle  → to  ← leftarrow
↔ leftrightarrow  ⇒ Rightarrow  ⇐ Leftarrow  ⇔ Leftrightarrow  ↦ mapsto  ⟶ longrightarrow  ⟹ Longrightarrow
⇌ rightleftharpoons  ↑ uparrow  ↓ downarrow  … dots  ⋯ cdots  ⋮ vdots  ⋱ ddots  ′ prime  ℏ hbar  ℓ ell  ℜ Re
ℑ Im  ℵ aleph  ⟨ langle  ⟩ rangle  ⌊ lfloor  ⌋ rfloor  ⌈ lceil  ⌉ rceil  ‖ |  ∣ mid  ° degree  † dagger
△ triangle  □ square  ∴ therefore  ∵ because  ⊢ vdash  ⊨ models
"""
_NAMES = _COMMANDS.split()
SYMBOLS = dict(zip(_NAMES[::2], ("\\" + name for name in _NAMES[1::2]), strict=True))
SYMBOLS |= {
    "−": "-", "‐": "-", "–": "-", "\u2061": "", "\u2062": "", "\u2063": "", "\u2064": "", "\xa0": " ", "%": "\\%",
    "#": "\\#", "&": "\\&", "{": "\\{", "}": "\\}", "$": "\\$", "_": "\\_", "°": "^\\circ ", "ℝ": "\\mathbb{R}",
    "ℕ": "\\mathbb{N}", "ℤ": "\\mathbb{Z}", "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}", "′": "'", "″": "''",
}  # fmt: skip
COMMAND = re.compile(r"\\[A-Za-z]+$")


def clean_tex(tex: str) -> str:
    r"""TeX without outer delimiters, ``{\displaystyle …}`` wrappers and line breaks."""
    tex = PRIVATE.sub("", " ".join(tex.split()))
    for opened, closed in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")):
        if len(tex) > len(opened) + len(closed) and tex.startswith(opened) and tex.endswith(closed):
            tex = tex[len(opened) : -len(closed)].strip()
            break
    wrapper = re.fullmatch(r"\{\\(?:displaystyle|textstyle)\s*(.*)\}", tex)
    if wrapper and _balanced(wrapper[1]):
        tex = wrapper[1].strip()
    return re.sub(r"(?<!\\)\$", r"\\$", tex)  # a dollar inside would close the formula too early


def _balanced(tex: str) -> bool:
    depth = 0
    for char in re.sub(r"\\.", "", tex):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def symbols(text: str) -> str:
    """``text`` with each character that has a command as that command."""
    out = ""
    for char in text:
        tex = SYMBOLS.get(char, char)
        if tex[:1].isalpha() and COMMAND.search(out[-30:]):
            out += " "
        out += tex
    return out


def appended(out: str, piece: str) -> str:
    """``piece`` behind ``out``, kept apart where it would lengthen a command."""
    if piece[:1].isalpha() and COMMAND.search(out[-30:]):
        return f"{out} {piece}"
    return out + piece


def braced(tex: str) -> str:
    """``tex`` as the argument of a command, ``_`` or ``^``."""
    return tex if len(tex) == 1 and tex.isalnum() else "{" + tex + "}"
