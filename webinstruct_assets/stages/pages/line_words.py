"""What the words of a line say about it: a reason to leave it out, or that links to other pages follow.

Phrases were collected in the languages whose pages are most common in Common Crawl.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _openers(texts: dict[str, str]) -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """First word -> (the words after it, reason), of phrases that start a line."""
    table: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for reason, text in texts.items():
        for phrase in text.split("|"):
            first, *rest = phrase.split()
            table.setdefault(first, []).append((tuple(rest), reason))
    return table


# Imperatives of exercises ("Lesen Sie den Text", "Log in as root") and terms of subjects ("related rates", "ähnliche
# Dreiecke", "register allocation") start like prompts and lists of links do: phrases are long enough to tell them
# apart, and single words count only where the line holds nothing else.
OPENERS = _openers({
    "related": "read more|read also|read next|also read|related|related articles|related posts|related stories|related news|"
    "related content|related topics|related links|related questions|related reading|related pages|related products|see also|"
    "more from|more stories|more news|more articles|you may also like|you might also like|you may like|you might like|"
    "you may also be interested|you might also be interested|recommended for you|recommended reading|recommended articles|"
    "don't miss|most popular|most read|popular posts|popular articles|trending|latest news|latest posts|latest stories|"
    "latest articles|recent posts|recent articles|recent news|top stories|what to read next|explore further|next article|"
    "previous article|next post|previous post|up next|editor's picks|similar articles|similar posts|similar questions|"
    "around the web|from the web|continue reading|"
    "weitere artikel|weitere beiträge|weitere themen|weitere informationen|weitere infos|weitere nachrichten|weitere meldungen|"
    "weitere news|weitere links|weitere aktuelle|weitere interessante|weitere berichte|weitere videos|mehr zum thema|mehr aus|"
    "mehr von|mehr dazu|lesen sie auch|lesen sie mehr|lesen sie hier|lesen sie dazu|lesen sie weiter|lies auch|lies mehr|"
    "auch interessant|das könnte sie|das könnte dich|das könnte dir|das könnte euch|sie könnten auch|passend dazu|"
    "passende artikel|ähnliche artikel|ähnliche beiträge|ähnliche themen|ähnliche produkte|verwandte artikel|"
    "verwandte beiträge|verwandte themen|verwandte themenbereiche|zum weiterlesen|weiterlesen|weiterführende links|"
    "weiterführende informationen|schon gelesen|meistgelesen|meistgelesene|meistgelesene artikel|meistdiskutierte artikel|"
    "neueste artikel|neueste beiträge|neueste kommentare|neueste nachrichten|aktuelle artikel|aktuelle beiträge|"
    "aktuelle nachrichten|aktuelle meldungen|beliebte artikel|beliebte beiträge|beliebteste artikel|top themen|"
    "empfohlene artikel|unsere empfehlung|die redaktion empfiehlt|redaktionsempfehlung|nächster artikel|nächster beitrag|"
    "vorheriger artikel|vorheriger beitrag|"
    "à lire aussi|a lire aussi|lire aussi|voir aussi|sur le même sujet|articles similaires|les plus lus|en savoir plus|"
    "vous aimerez aussi|vous pourriez aussi|vous pourriez aimer|dans la même rubrique|dans la même catégorie|lire la suite|"
    "le puede interesar|te puede interesar|puede interesarte|también te puede|lea también|lee también|leer más|ver también|"
    "más información|más noticias|noticias relacionadas|artículos relacionados|lo más leído|lo más visto|"
    "leia também|veja também|leia mais|saiba mais|notícias relacionadas|artigos relacionados|mais lidas|"
    "leggi anche|leggi di più|potrebbe interessarti|ti potrebbe interessare|potrebbero interessarti|articoli correlati|"
    "i più letti|lees ook|lees meer|lees verder|gerelateerde artikelen|meest gelezen|czytaj także|czytaj też|czytaj również|"
    "czytaj więcej|zobacz także|zobacz też|zobacz również|przeczytaj także|powiązane artykuły|polecamy|najczęściej czytane|"
    "läs också|läs mer|läs även|relaterade artiklar|læs også|les også|lue myös|lue lisää|читайте также|читать далее|"
    "смотрите также|похожие статьи|ещё по теме|ilgili haberler|bunlar da ilginizi|čtěte také|přečtěte si také",
    "share": "share this|share on|share via|share article|artikel teilen|beitrag teilen|seite teilen|jetzt teilen|"
    "diesen artikel teilen|diesen beitrag teilen|den artikel mit|auf facebook teilen|partager sur|partager cet|compartir en|"
    "compartir este|compartilhar no|compartilhe isso|condividi su|udostępnij|follow us|find us on|folgen sie uns|folge uns|"
    "folgt uns|síguenos|suivez-nous|seguici|print this|email this|artikel drucken|seite drucken",
    "comment": "leave a reply|leave a comment|leave a response|post a comment|add a comment|write a comment|add comment|"
    "post comment|join the conversation|join the discussion|no comments|comments are closed|be the first to comment|"
    "schreib einen kommentar|schreibe einen kommentar|schreiben sie einen kommentar|kommentar schreiben|kommentar verfassen|"
    "kommentar hinterlassen|keine kommentare|noch keine kommentare|noch keine bewertungen|no ratings yet|no reviews yet|bisher keine kommentare|ihre meinung|"
    "hinterlasse einen|hinterlasse eine|hinterlassen sie einen|laisser un commentaire|laissez un commentaire|"
    "aucun commentaire|deja un comentario|deja una respuesta|dejar un comentario|deixe um comentário|"
    "deixe o seu|lascia un commento|nessun commento|skomentuj|dodaj komentarz|"
    "geef een reactie|your email address will|ihre e-mail-adresse wird|deine e-mail-adresse wird",
    "author": "about the author|about author|über den autor|über die autorin|zum autor|zur autorin|zur person|"
    "à propos de l'auteur|sobre el autor|sobre la autora|sobre o autor|informazioni sull'autore|o autorze",
    "prompt": "subscribe|subscribe to|sign up|log in|login|sign in|register|registrieren|anmelden|einloggen|jetzt anmelden|"
    "jetzt abonnieren|jetzt registrieren|newsletter|get the latest news|never miss|support us|donate|abonnez-vous|"
    "suscríbete|iscriviti|click here|please enable javascript|loading|sie sind nicht eingeloggt|sie sind aktuell nicht|"
    "you are not logged|you must be logged|you need to be logged|you must log|you need to log",
    "navigation": "table of contents|inhaltsverzeichnis|sommaire|spis treści|skip to content|skip to main|skip to navigation|"
    "back to top|zum inhalt|zum seitenanfang|nach oben",
    "ad": "advertisement|advertising|anzeige|werbung|reklama|publicidad|publicité|pubblicità|advertentie|annons|реклама|"
    "sponsored",
    "legal": "©|copyright|all rights reserved|alle rechte vorbehalten|tous droits réservés|todos los derechos",
    "meta": "published|updated|last updated|last modified|posted on|posted by|posted in|filed under|tagged|tags|"
    "veröffentlicht|aktualisiert|publiziert|zuletzt aktualisiert|erschienen am|erstellt|publié|mis à jour|publicado|"
    "actualizado|pubblicato|aggiornato|opublikowano|lesezeit|kategorie|kategorien|schlagwörter|schlagworte|stichwörter|"
    "quelle|source|bildquelle|categories|category|etiquetas",
    "caption": "foto|fotos|photo|photos|photograph|photographs|bild|bilder|image credit|image source|picture credit|"
    "photo credit|crédit photo|crédits photo|crédits photos|fotografie|titelbild|symbolbild|archivbild|archivfoto|symbolfoto|zdjęcie|fot|abbildung|abb",
})  # fmt: skip
# First words of titles that open a list of other pages where links follow, and a part of the content elsewhere.
MAYBE = _words(
    "related more further similar latest recent popular other also next weitere weiterer mehr ähnliche verwandte neueste neuste "
    "letzte aktuelle beliebte beliebteste empfohlene empfehlungen andere auch entdecke zum nächste sie autres plus dernières "
    "derniers más otras otros últimas mais outras últimos altri altre ultime meer zobacz więcej inne najnowsze mer fler "
    "ещё другие последние"
)
LONGEST = {"prompt": 60, "navigation": 40, "ad": 30, "meta": 90, "share": 90, "author": 60, "comment": 110, "related": 70,
           "legal": 150, "caption": 220}  # fmt: skip
"""Characters of the longest line that goes for its first words."""
LABELS = frozenset({"caption", "meta"})  # only as labels: with a colon, or meta with a number, right behind
SECTIONS = frozenset({"related", "comment", "author"})  # their openers also open a section
SECTION_TITLE = 70
LINE = re.compile(
    r"^\(c\) \d{4}|all rights reserved|alle rechte vorbehalten|tous droits réservés|todos los derechos reservados|tutti i diritti|"
    r"terms of (?:use|service)|privacy policy|datenschutzerklärung|nutzungsbedingungen|"
    r"(?:uses?|accept|verwende[nt]?|nutz(?:en|t)) cookies|"
    r"\bnewsletter\b.{0,60}\b(?:sign|subscri|anmeld|abonn|bestell|inbox|kostenlos)|"
    r"\b(?:sign(?:ing)? up|subscri\w+|anmeld\w+|abonn\w+)\b.{0,60}\bnewsletter",
    re.MULTILINE,
)
LINE_HINTS = ("(c) ", "rechte vor", "rights res", "droits rés", "derechos res", "tutti i dir", "terms of ", "privacy pol", "datenschutzer",
              "nutzungsbed", " cookies", "newsletter")  # fmt: skip
CREDIT = re.compile(
    r"\((?:foto|photo|photograph|bild|credit|quelle|image)s?(?: by)?\s?:|[.!?|] (?:foto|photo|photograph|bild)s?(?: by)?\s?:|"
    r"(?<![a-zà-ÿ])©|"
    r"/\s?(?:dpa|afp|reuters|getty|imago|shutterstock|pixabay)|\b(?:getty images|istock|shutterstock|picture alliance|adobe stock)\b"
)
CREDIT_HINTS = ("©", "foto", "photo", "bild", "credit", "quelle", "image", "dpa", "afp", "reuters", "getty", "imago", "stock",
                "pixabay", "picture alliance")  # fmt: skip
LINE_CHARS = 220  # characters of the longest line that is judged by its words
EDGES = " \t»«›‹→←•·|–—-*+>[]()„“”\"'…:.!#"
COUNTED = ("comment", "kommentar", "coment", "reactie")  # "12 comments"


def first_word(lowered: str) -> str:
    """The first word of a line (in lower case), without signs around it."""
    return lowered.lstrip(EDGES).partition(" ")[0].rstrip(EDGES)


def notices(lines: Sequence[str]) -> tuple[set[int], set[int]]:
    """Numbers of the lines (in lower case) that hold a legal notice or the like, and of those that credit a picture."""
    page = "\n".join(lines)
    return _found(LINE, LINE_HINTS, lines, page), _found(CREDIT, CREDIT_HINTS, lines, page)


def _found(pattern: re.Pattern[str], hints: Sequence[str], lines: Sequence[str], page: str) -> set[int]:
    """Numbers of the lines in which ``pattern`` is found, by one search over all of them (``page``)."""
    if not any(hint in page for hint in hints):
        return set()
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    return {bisect_right(starts, match.start()) - 1 for match in pattern.finditer(page)}


def line_reason(lowered: str, links: int, link_chars: int) -> str:
    """Why a line (in lower case) is not content judged by its first words, "" where they do not say."""
    words = [word for word in (piece.strip(EDGES + ",?") for piece in lowered[:80].split()) if word]
    if not words:
        return ""
    first = words[0]
    if first.isdigit():
        return "comment" if 2 <= len(words) <= 4 and words[1].startswith(COUNTED) else ""
    length = len(lowered)
    for rest, reason in OPENERS.get(first, ()):
        if rest and tuple(words[1 : len(rest) + 1]) != rest:
            continue
        if reason in LABELS:
            head = lowered[: len(first) + sum(map(len, rest)) + 12]
            if ":" not in head and not (reason == "meta" and any(map(str.isdigit, head))):
                continue
        elif reason != "legal":
            more = len(words) - len(rest) - 1
            if more and (not rest or (more > 1 and reason in ("prompt", "navigation") and not links)):
                continue
        if length <= LONGEST[reason] or (links and length <= 160 and link_chars >= 0.4 * length):
            return reason
    return ""
