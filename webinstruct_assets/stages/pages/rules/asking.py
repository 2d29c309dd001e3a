"""Which titles ask, and which pages and sections say that they answer questions.

Titles of sections, panels and list terms come in. A title that ends with a question mark need not ask the reader's
question: it may be the site's ("Need help?"), a figure of speech ("So why bother?") or a link to another page.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from webinstruct_assets.stages.pages.document import Layout, Page, Span
from webinstruct_assets.stages.pages.questions import LABEL, asks

FAQ = re.compile(
    r"\bfaqs?\b|frequently[\s_-]asked|common(?:ly asked)?[\s_-]questions|questions?(?: (?:and|&) |[\s_-](?:and|&)[\s_-])answers?|\bq\s?&\s?a\b|"
    r"\b(?:your|our|reader|visitor|more|popular|top) questions\b|questions (?:we|you|people|readers|customers|that)\b|questions? answered|\bquestions?\s*$|"
    r"häufige? (?:gestellte )?fragen|fragen (?:und|&) antworten|preguntas frecuentes|foire aux questions|questions fréquentes|"
    r"domande frequenti|perguntas frequentes|veelgestelde vragen",
    re.IGNORECASE,
)
FAQ_NAMES = re.compile(r"(?:^|[\s_-])(?:faqs?|qa|q-and-a|qna|question-list)(?:$|[\s_-])", re.IGNORECASE)
# How a question of its own begins, or goes on after a comma or dash. Languages of the web's larger part; a title in
# another language is taken at its question mark.
INTERROGATIVE = re.compile(
    r"¿|(?:^|[,:;–—-]\s*|[.!?]\s+|\b(?:and|or|but|so|und|oder|aber|y|o|et|ou)\s+|[\"“„«(]\s*)"
    r"(?:(?:in|at|for|to|from|on|by|with|of|about|under|after|before|since|until|bei|in|an|auf|für|mit|von|zu|aus|nach|seit|bis|ab|unter|über|durch|um)\s+)?"
    r"(?:what|which|who|whom|whose|when|where|why|how|is|are|am|was|were|do|does|did|can|could|may|might|must|shall|should|will|would|has|have|had|"
    r"isn['’]t|aren['’]t|don['’]t|doesn['’]t|didn['’]t|can['’]t|won['’]t|what['’]s|who['’]s|where['’]s|how['’]s|if|"
    r"was|wie|wo|wohin|woher|wann|warum|weshalb|wieso|wer|wen|wem|wessen|wozu|wofür|womit|woran|worauf|worin|worum|worüber|woraus|wodurch|wovon|wovor|wogegen|wonach|wobei|weswegen|wieviel\w*|inwie\w+|welch\w*|"
    r"ist|sind|war|hat|habe|haben|hatte|kann|können|könnte|muss|müssen|darf|dürfen|soll|sollte\w*|wird|werden|würde|gibt|gilt|lohnt|brauch\w*|braucht|macht|darfst|kannst|"
    r"qué|quién|cuál|cuándo|cuánt\w+|dónde|cómo|por qué|quand|comment|pourquoi|combien|quel\w*|qui|où|est-ce|que faire|peut-on|dois-je|puis-je|"
    r"che|cosa|come|quando|perché|quanto|chi|dove|qual\w?|o que|como|quanto|por que|wat|waar|wanneer|waarom|hoe|wie|welke|kan|mag|moet|heeft)\b",
    re.IGNORECASE,
)
KNOWN_LANGUAGES = frozenset({"en", "de", "es", "fr", "it", "pt", "nl", ""})
VERB_FIRST = re.compile(
    r"[A-Za-zÄÖÜäöü]+(?:t|en|st)\s+(?:ich|man|sie|er|es|sich|wir|ihr|du|ein\w*|der|die|das|dein\w*|mein\w*|unser\w*)\b|.*\b(?:can i|do i|am i|should i|soll ich|kann ich|muss ich)\b",
    re.IGNORECASE,
)
FIGURE = re.compile(r"(?:and|but|so|or|und|aber|oder|y|et)\b", re.IGNORECASE)
REPLY = re.compile(r"(?:yes|no|nope|yep|ja|nein|jein|sí|si|oui|non|não|sim|nee)\b", re.IGNORECASE)  # begins an answer
SITE = re.compile(
    r"^(?:(?:do you |you |still |got |have )*(?:have |got )?(?:any |a |more |other |further |some )*(?:questions?|comments?|ideas|doubts)\b|"
    r"(?:still |do you )?need (?:some |more |any |further )?(?:help|assistance|advice|support|more)\b|was this\b|did (?:this|you (?:like|find|know|enjoy))\b|"
    r"(?:still )?(?:can['’]t|cannot|couldn['’]t|didn['’]t|did not) find\b|looking for\b|want (?:to|more|a|an|\d+)\b|ready (?:to|for)\b|interested\b|new (?:here|to)\b|"
    r"why (?:us|choose|work with|join us|shop|book with|trust)\b|who we are\b|what we (?:do|offer)\b|what do you think\b|what(?:['’]s| is) (?:new|next|your (?:opinion|view|experience))\b|"
    r"forgot\b|not (?:sure|a member)|already (?:a|have)\b|is this page\b|how can we help|what are you (?:looking|waiting)\b|what do (?:our )?(?:customers|clients) say|"
    r"(?:noch |haben sie (?:noch )?|hast du (?:noch )?|sie haben )(?:weitere )?fragen\b|war (?:dieser|diese|das|der)\b|¿?(?:tienes|tiene|aún|todavía).*(?:dudas|preguntas)|"
    r"was (?:meinst|denkst|meinen|denken) (?:du|ihr|sie)\b|wie (?:findest|findet|seht|siehst) (?:du|ihr)\b|¿?qué (?:opinas|te parece)\b|"
    r"(?:vous avez|avez-vous).*(?:questions?)\b)",
    re.IGNORECASE,
)  # fmt: skip
HOW_TO = re.compile(r"^(?:how (?:to|do|does|can|much|many|long)|what|when|where|who|why|can|is|are|do|does|wie|was|wann|wo|cómo|comment)\b", re.IGNORECASE)  # fmt: skip
SPOKEN = re.compile(r"^[A-ZÄÖÜ][\w.'’ &-]{1,40}:\s+")  # "L.A. WEEKLY: What …?" in an interview


def title_asks(text: str, language: str, *, hinted: bool, answer: str = "") -> bool:
    """Whether a title is a question that what stands below it may answer.

    Where nothing says that the page answers questions (``hinted``), it must have a question's form as well, or
    ``answer`` (what stands below) must begin like a reply.
    """
    plain = text.strip(" \"'”“»«*_:·•–—-")
    label = LABEL.match(plain)
    plain = plain[label.end() :] if label else plain
    if SITE.match(plain) or len(plain.split()) < 2:
        return False
    if not plain.endswith("?"):
        # "I missed the deadline. What now" or "How to return goods" ask where titles do
        return hinted and (HOW_TO.match(plain) is not None or asks(plain))
    if hinted or language not in KNOWN_LANGUAGES:
        return True
    return asks_in_form(plain) or REPLY.match(answer.strip()) is not None


def asks_in_form(text: str) -> bool:
    """Whether a text has the form of a question: an interrogative, or a verb first."""
    plain = SPOKEN.sub("", text)
    return INTERROGATIVE.search(plain) is not None or VERB_FIRST.match(plain) is not None


def plainly_asks(text: str, language: str) -> bool:
    """Whether a title is a question by its first words; one that begins with "So" or "But" is a figure of speech."""
    plain = text.strip(" \"'”“»«*_:·•–—-")
    label = LABEL.match(plain)
    plain = SPOKEN.sub("", plain[label.end() :] if label else plain)
    begins = INTERROGATIVE.match(plain) or VERB_FIRST.match(plain)
    return language in KNOWN_LANGUAGES and len(plain.split()) >= 3 and begins is not None and not FIGURE.match(plain)


def page_is_faq(page: Page) -> bool:
    """Whether title or address of a page name questions."""
    return _says_faq(page.title, page.url)


@lru_cache(maxsize=64)  # several rules ask this of the same page
def _says_faq(title: str, url: str) -> bool:
    return FAQ.search(title) is not None or FAQ.search(url.replace("-", " ").replace("_", " ")) is not None


def named_faq(layout: Layout, container: int) -> bool:
    """Whether an element around is named FAQ."""
    return any(_is_faq_name(layout.containers[up].names) for up in layout.ancestors(container) if up > 0)


@lru_cache(maxsize=65_536)
def _is_faq_name(names: str) -> bool:
    return FAQ_NAMES.search(names) is not None


DATE = re.compile(
    r"(?:\w+,?\s+)?\d{1,2}[./\s-]+(?:\w+|\d{1,2})[./,\s-]+\d{2,4}(?:[,\s]+\d{1,2}:\d{2}.*)?|\w+ \d{1,2},? \d{4}|(?:read|learn|see|show) more\W*|mehr\b.{0,20}|weiterlesen\W*",
    re.IGNORECASE,
)


def answers(layout: Layout, body: Iterable[int]) -> bool:
    """Whether blocks say anything: more than a date, a "read more", or links."""
    texts = [layout.blocks[index] for index in body]
    return any(re.search(r"\w", block.text) and not DATE.fullmatch(block.text.strip()) for block in texts) and not all(
        block.links and block.link_chars > 0.9 * len(block.text) and block.kind == "heading" for block in texts
    )


def span_text(text: str, spans: Iterable[Span]) -> str:
    """The text of spans in one line."""
    return " ".join(text[span.start : span.end] for span in spans).replace("\n", " ")
