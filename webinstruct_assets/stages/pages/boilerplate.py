"""Which parts of a page are not its content: by element names, by what lines say, by link density, by place.

Names of elements come in as ``names(tag, "class id")``; the layout of a whole page as ``drop_boilerplate``. A block
is never deleted: it gets the reason for which it is left out, so that reasons can be counted and revised.

Rules lean towards keeping: question pages are short, and tools tuned on news empty them. Words and names were
collected in the languages whose pages are most common in Common Crawl.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from webinstruct_assets.stages.pages.document import Block, Layout

DROP_TOKENS = {
    "navigation": "nav navbar navi navigation menu menubar submenu breadcrumb breadcrumbs crumbs pagination pager paging "
    "sitemap skiplink topbar toolbar topnav toc tabs linklist",
    "frame": "footer colophon masthead headerbar catlinks copyright imprint banner sidebar aside rail widget widgets topbox "
    "bottombar",
    "ad": "ad ads adv advert adverts advertisement advertising adsense adslot adbox adunit dfp sponsor sponsored promo "
    "promos promoted promotion outbrain taboola teads affiliate werbung anzeige anzeigen publicidad publicité publicite "
    "reklama",
    "cookie": "cookie cookies consent gdpr onetrust cookiebar",
    "share": "share sharing shares social socials addthis addtoany sharethis sharedaddy shariff follow followus sharebar "
    "teilen partager compartir condividi",
    "related": "related relacionadas relacionados verwandte recommended recommendation recommendations empfehlungen recirc "
    "similar popular trending mostread morelike readalso readmore nextread readnext teasers seealso upnext upsell crosssell "
    "yarpp crosslinks hotnetwork",
    "prompt": "newsletter newsletters subscribe subscription signup login signin register paywall popup modal lightbox toast "
    "search searchform suche donate donation cta",
    "comment": "comments commentlist commentform commentsection disqus respond kommentare commentaires comentarios commenti "
    "komentarze reacties",
    "meta": "byline tagcloud taglist tags authorbox authorbio postmeta entrymeta metadata printonly credit credits infoline "
    "dateline",
    "teaser": "teaser teaserbox newsteaser teaserlist",
    "caption": "caption figcaption bildunterschrift imagecaption imagedescription photocredit",
}  # fmt: skip
# Reasons that hold whatever else the names say.
ALWAYS = frozenset({"ad", "cookie", "share", "related", "comment", "prompt", "caption", "teaser"})
FLAG_TOKENS = {
    "content": "content article entry main story question questions answer answers solution solutions thread topic faq faqs "
    "post text",
    "layout": "with has no wrapper container page layout site body left right two col columns row grid",
    "answer": "answer answers solution solutions explanation worked working ans soln spoiler hint reveal antwort lösung reponse",
    "question": "question questions problem exercise mcq ques frage aufgabe",
    "openable": "answer answers solution solutions explanation spoiler hidden hide collapse collapsible collapsed accordion "
    "panel toggle reveal faq faqs qa details hint tab worked",
    "stem": "stem given passage scenario stimulus",
    "post": "post reply comment msg message answer question response topic card",
    "meta": "meta byline author username user who when date time timestamp posted votes vote score sig signature avatar badge "
    "ribbon reputation rank joined rep tick thx thanks foot postfoot poster userinfo usercard",
    "image": "image images img imgs photo photos foto fotos bild bilder picture pictures pic thumbnail gallery galerie "
    "slideshow imagewrap figure",
    "caption": "description subtitle legend info source copyright credit author descriptif desc",  # of an image
    "author": "author autor autorin auteur autore",
    "header": "header",
    "qa": "faq faqs qa",
    "q": "q",
    "a": "a",
}  # fmt: skip
"""What the words of an element's class and id say about it, beside a reason to drop it."""
BITS = {flag: 1 << place for place, flag in enumerate((*FLAG_TOKENS, "accepted", "chosen"))}
TOKEN_REASON = {token: reason for reason, tokens in DROP_TOKENS.items() for token in tokens.split()}
TOKEN_BITS: dict[str, int] = {}
for _flag, _tokens in FLAG_TOKENS.items():
    for _token in _tokens.split():
        TOKEN_BITS[_token] = TOKEN_BITS.get(_token, 0) | BITS[_flag]
PUBLIC = ("content", "answer", "question", "openable", "stem", "post", "meta", "accepted", "image", "author")
ACCEPTED = re.compile(
    r"(?:^|(?<!not)[_-])(?:accepted|acceptedanswer|is-best|best-answer|bestanswer|post--solution|is-solution|solved-answer|"
    r"marked-solution|solution-post|correct-answer)(?:$|[_-])"
)
CHOSEN = frozenset({"best", "chosen"})  # of an answer or a post; elsewhere these are products and widgets
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
NOT_WORD = re.compile(r"[^a-zà-ÿ]+")
# Class names that say what a page is about or who wrote it.
ABOUT = ("tag-", "category-", "cat-", "topic-", "kategorie-", "comment-author-")
# MediaWiki's, mostly.
FURNITURE = frozenset(
    {"siteNotice", "contentSub", "mw-editsection", "mw-jump-link", "printfooter", "most-read", "p-lang"}
)
HAVING = frozenset({"has", "no", "non", "not", "with", "without"})  # what an element holds or lacks, not what it is
BUILDERS = ("elementor-",)  # a page builder that calls all content widgets
MAX_NAMES = 400  # characters of class and id that are looked at
NAMELESS = frozenset({"html", "body", "main", "article"})  # hold the page, whatever they are called
HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})  # their ids are slugs: "related-rates", "binary-search"


@lru_cache(maxsize=65_536)
def _name(name: str) -> tuple[int, str, str]:
    """(bits, first reason of ALWAYS, first other reason) of one class or id; names recur across pages, so it is kept."""
    if name.startswith(ABOUT):
        return 0, "", ""
    lowered = name.lower()
    if lowered != name:
        tokens = NOT_WORD.split(CAMEL.sub(" ", name).lower())
    else:
        tokens = [name] if name.isalpha() else NOT_WORD.split(name)
    bits, strong, weak = 0, "", ""
    says = HAVING.isdisjoint(tokens) and not name.startswith(BUILDERS)
    for token in tokens:
        if token in TOKEN_BITS:
            bits |= TOKEN_BITS[token]
        if says and token in TOKEN_REASON:
            reason = TOKEN_REASON[token]
            if reason in ALWAYS:
                strong = strong or reason
            else:
                weak = weak or reason
    hinted = "accept" in lowered or "best" in lowered or "sol" in lowered or "correct" in lowered
    if hinted and ACCEPTED.search(lowered):
        bits |= BITS["accepted"]
    if name in CHOSEN:
        bits |= BITS["chosen"]
    if name in FURNITURE:
        strong = strong or "frame"
    return bits, strong, weak


@lru_cache(maxsize=4_096)
def _flags(bits: int) -> frozenset[str]:
    flags = {flag for flag in PUBLIC if bits & BITS[flag]}
    if bits & BITS["qa"]:  # "faq-q" and "faq-a", but not "faq-item"
        flags |= {kind for kind, letter in (("question", "q"), ("answer", "a")) if bits & BITS[letter]}
    if bits & BITS["chosen"] and bits & (BITS["answer"] | BITS["post"]):
        flags.add("accepted")
    return frozenset(flags)


def names(tag: str, text: str) -> tuple[str, frozenset[str]]:
    """(reason to drop, flags) of an element from its tag and its ``"class id"`` string.

    Flags: content, answer, question, openable, stem, post, meta, accepted, image, author.
    """
    bits, strong, weak = 0, "", ""
    for name in text[:MAX_NAMES].split():
        own, first, second = _name(name)
        bits |= own
        strong = strong or first
        weak = weak or second
    flags = _flags(bits)
    if tag in NAMELESS or "answer" in flags or tag in HEADINGS:
        return "", flags
    if strong:
        return strong, flags
    if bits & BITS["image"] and bits & BITS["caption"]:
        return "caption", flags
    if bits & (BITS["content"] | BITS["layout"]):
        return "", flags
    if not weak and bits & BITS["header"] and not bits & (BITS["openable"] | BITS["post"] | BITS["question"]):
        weak = "header"  # of the page or of an article, not of a panel: the layout tells
    if tag == "p" and weak == "frame":  # "font--secondary", "widget-text": paragraphs are no frames
        weak = ""
    return weak, flags


# -- what lines say -------------------------------------------------------------------------------------------


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


# -- the page as a whole -----------------------------------------------------------------------------------

LINK_CONTAINERS = frozenset({"ul", "ol", "div", "section", "table", "tr", "td", "dl", "li", "p", "header"})
RESTORE_SHARE = 0.5  # a part dropped for its name comes back when it holds more than this share of the page's prose
MOST_PROSE = {"navigation": 300, "ad": 300, "caption": 400, "prompt": 500, "share": 500}
"""Characters of prose from which a part is not what its name says: "tabs" hold panels, "binary-search" is a chapter."""
MAIN_SHARE = 0.85  # the main part is the smallest element that holds this share of the prose
MAIN_MIN_CHARS = 600  # pages with less prose are taken whole
LEAD_CHARS = 80  # a summary between the title and the main part is longer
SHORT_LEAD = 40  # right beside the main part, below a title
LEAD_STEPS = 6  # levels of elements between the main part and what holds it and its summary
LINK_DENSITY = 0.6
FREE = 40  # characters outside links that make a block in a list of links more than a link
TEASERS = 3  # boxes called teaser from which they are a list of other pages; fewer may be this page's own lead
AUTHOR_SHARE, AUTHOR_BLOCKS = 0.3, 12  # larger parts under an author's name are what the author wrote
FIGURE_CHARS, IMAGE_CHARS = 400, 300  # text in a figure, or in an element named after an image, that is its caption
ANSWERS = frozenset({"question", "answer"})
OPENED = ANSWERS | {"openable"}
BOX_SHARE = 0.4  # a box with a boilerplate title goes whole unless it holds more than this share of the page's prose


def weight(block: Block) -> float:
    """How much a block looks like prose, in characters."""
    length = len(block.text)
    if block.kind == "heading":
        return 0.2 * length
    if block.link_chars > length / 2:
        return 0.0
    if block.kind == "code" or block.math or length >= 60 or block.text[-1:] in ".?!:":
        return float(length)
    return 0.3 * length


def drop_boilerplate(layout: Layout, *, forum: bool) -> None:
    """Marks the blocks that are not content with the reason in ``Block.dropped``."""
    containers, blocks = layout.containers, layout.blocks
    if forum:  # a thread's answers are often called comments or replies
        for container in containers:
            if container.own_drop == "comment":
                container.own_drop = ""
    weights = [weight(block) for block in blocks]
    prefix = list(accumulate(weights, initial=0.0))
    _by_name(layout, prefix, forum=forum)
    for container in containers:
        container.dropped = container.own_drop or (
            containers[container.parent].dropped if container.parent >= 0 else ""
        )
    for block in blocks:
        block.dropped = block.dropped or containers[block.container].dropped
    _by_line(layout, prefix, forum=forum)
    _drop_links(layout)
    _drop_outside(layout, weights)
    _drop_empty_sections(layout)


def _by_name(layout: Layout, prefix: list[float], *, forum: bool) -> None:
    """Takes back drops by name that would take content, adds captions and authors' boxes."""
    total, blocks = prefix[-1], layout.blocks
    teasers, end = 0, -1
    for container in layout.containers:
        if container.own_drop == "teaser" and end <= container.first < container.last:
            teasers, end = teasers + 1, container.last
    for container in layout.containers:
        first, last = container.first, container.last
        reason = container.own_drop
        if reason == "hidden" or first == last:
            continue
        prose = prefix[last] - prefix[first]
        if reason == "teaser":
            many = teasers >= TEASERS and OPENED.isdisjoint(container.flags)
            reason = container.own_drop = "related" if many else ""
        if reason:
            if prose > RESTORE_SHARE * total or prose > MOST_PROSE.get(reason, prose):
                container.own_drop = ""
            elif reason == "header":
                container.own_drop = "" if _is_title(blocks[first:last]) else "frame"
            continue
        if container.tag == "figure" or "image" in container.flags:
            if ANSWERS.isdisjoint(container.flags) and _is_caption(blocks[first:last], container.tag == "figure"):
                container.own_drop = "caption"
        elif (
            "author" in container.flags
            and not forum
            and prose < AUTHOR_SHARE * total
            and last - first <= AUTHOR_BLOCKS
            and ANSWERS.isdisjoint(container.flags)
            and not any(block.level == 1 for block in blocks[first:last])
        ):
            container.own_drop = "meta"


def _is_title(inside: list[Block]) -> bool:
    """Whether a header is that of a text, not of the site: a heading, and few links."""
    size = sum(len(block.text) for block in inside)
    return any(block.kind == "heading" for block in inside) and 2 * sum(block.link_chars for block in inside) < size


def _is_caption(inside: list[Block], figure: bool) -> bool:
    """Whether all that an image's element holds is a few words about it. Figures may also hold tables and code."""
    if len(inside) > 4 or sum(len(block.text) for block in inside) > (FIGURE_CHARS if figure else IMAGE_CHARS):
        return False
    kinds = ("paragraph", "heading") if figure else ("paragraph",)
    return all(block.kind in kinds and not block.math and block.text[-1:] != "?" for block in inside)


def _by_line(layout: Layout, prefix: list[float], *, forum: bool) -> None:
    """Drops lines for their words, and the boxes and lists that such lines open."""
    blocks = layout.blocks
    short = [
        index
        for index, block in enumerate(blocks)
        if not block.dropped and len(block.text) <= LINE_CHARS and block.kind != "code" and not block.math
    ]
    lines = [blocks[index].text.lower() for index in short]
    page = "\n".join(lines)
    legal = _lines_with(LINE, lines, page) if any(hint in page for hint in LINE_HINTS) else ()
    credits = _lines_with(CREDIT, lines, page) if any(hint in page for hint in CREDIT_HINTS) else ()
    for place, (index, lowered) in enumerate(zip(short, lines, strict=True)):
        block = blocks[index]
        if block.dropped or (lowered[-1:] == "?" and not block.links):
            continue
        first = lowered.lstrip(EDGES).partition(" ")[0].rstrip(EDGES)
        reason = line_reason(lowered, block.links, block.link_chars) if first in OPENERS or first.isdigit() else ""
        if not reason:
            if (
                first in MAYBE
                and len(lowered) <= SECTION_TITLE
                and (block.kind == "heading" or lowered[-1:] not in ".;,")
            ):
                _drop_section(layout, index, prefix, sure=False)
            elif place in legal:
                block.dropped = "legal"
            elif place in credits:
                block.dropped = "caption"
            continue
        if forum and reason in ("comment", "author", "meta"):
            continue
        block.dropped = reason if reason != "author" else "meta"
        if reason in SECTIONS and len(lowered) <= SECTION_TITLE:
            _drop_section(layout, index, prefix, sure=True)


def _lines_with(pattern: re.Pattern[str], lines: Sequence[str], page: str) -> set[int]:
    """Numbers of the lines in which ``pattern`` is found, by one search over all of them (``page``)."""
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    return {bisect_right(starts, match.start()) - 1 for match in pattern.finditer(page)}


def _drop_section(layout: Layout, title: int, prefix: list[float], *, sure: bool) -> None:
    """Drops the box that a title opens; without a box, the links that follow it.

    A title that is not ``sure`` goes with its section only where most of that are links.
    """
    containers, blocks = layout.containers, layout.blocks
    box, outer = -1, blocks[title].container
    while outer > 0 and containers[outer].first == title:
        last = containers[outer].last
        if last > title + 1 and prefix[last] - prefix[title] <= BOX_SHARE * prefix[-1]:
            box = outer
        outer = containers[outer].parent
    section: list[Block] = []
    linked = 0
    for other in blocks[title + 1 : containers[box if box >= 0 else outer].last]:
        link = 2 * other.link_chars > len(other.text) and other.text[-1:] != "?"
        if box < 0 and (not link or (other.kind == "heading" and not other.links)):
            break
        if not other.dropped:
            linked += link
            section.append(other)
    if not sure and (not section or 2 * linked < len(section)):
        return
    reason = blocks[title].dropped = blocks[title].dropped or "related"
    for other in section:
        if OPENED.isdisjoint(containers[other.container].flags):
            other.dropped = reason


def _drop_links(layout: Layout) -> None:
    """Drops lists of links, and lines that are nothing but a link."""
    containers, blocks = layout.containers, layout.blocks
    kept = [block for block in blocks if not block.dropped]
    if not any(block.links for block in kept):
        return
    sizes = [0 if block.dropped else len(block.text) for block in blocks]
    chars = list(accumulate(sizes, initial=0))
    # A question's heading links to itself, or opens its answer; the answer is not a part of a list of links.
    link_chars = [0 if block.kind == "heading" and block.text[-1:] == "?" else block.link_chars for block in blocks]
    linked = list(accumulate(map(min, link_chars, sizes), initial=0))
    links = list(accumulate([0 if block.dropped else block.links for block in blocks], initial=0))
    dense = [False] * len(containers)
    for index, container in enumerate(containers):
        first, last = container.first, container.last
        inside = linked[last] - linked[first]
        if container.parent >= 0 and dense[container.parent]:
            dense[index] = True
        elif inside and container.tag in LINK_CONTAINERS and "answer" not in container.flags:
            size = chars[last] - chars[first]
            dense[index] = (inside > LINK_DENSITY * size and links[last] - links[first] >= 2) or (
                inside > 0.85 * size and size < 200
            )
    for index, block in enumerate(blocks):
        if block.dropped:
            continue
        crowded = dense[block.container]
        if block.kind == "heading" or not (crowded or block.links):
            continue
        if "openable" in containers[block.container].flags and not any(
            after.links for after in blocks[index + 1 : index + 2]
        ):
            continue  # a panel's title is a link that opens it
        length, inside = len(block.text), block.link_chars
        alone = block.links and inside > 0.85 * length and length < 120
        prose = length - inside >= FREE and inside < length / 2
        if (alone and block.text[-1:] != "?") or (crowded and not prose):
            block.dropped = "links"


def _drop_outside(layout: Layout, weights: list[float]) -> None:
    """Keeps the smallest element that holds nearly all prose, main headings before it, and its lead."""
    containers, blocks = layout.containers, layout.blocks
    prefix = list(
        accumulate([0.0 if block.dropped else weights[index] for index, block in enumerate(blocks)], initial=0.0)
    )
    total = prefix[-1]
    if total < MAIN_MIN_CHARS:
        return
    main, needed = 0, MAIN_SHARE * total
    for index, container in enumerate(containers):  # a child comes after its parent, so one pass descends
        if (
            container.parent == main
            and prefix[container.last] - prefix[container.first] >= needed
            and container.tag not in ("p", "li", "td", "details")
        ):
            main = index
    first, last = containers[main].first, containers[main].last
    title = max(
        (index for index in range(first) if blocks[index].level == 1 and not blocks[index].dropped),
        default=-1,
    )
    around = {index: steps for steps, index in enumerate(layout.ancestors(main))}  # how far up from the main part
    lead = _lead(layout, title, first, around)
    for index, block in enumerate(blocks):
        if block.dropped or first <= index < last or index in lead:
            continue
        if block.level != 1 or index > first:
            block.dropped = "outside"


def _lead(layout: Layout, title: int, first: int, around: dict[int, int]) -> set[int]:
    """Blocks between title and main part that belong to the content: prose near the main part, and what it frames."""
    blocks = layout.blocks
    prose: dict[int, int] = {}  # container -> its first block of prose
    for index in range(title + 1, first):
        block = blocks[index]
        if block.dropped or len(block.text) < SHORT_LEAD or block.link_chars > 0.3 * len(block.text):
            continue
        steps = next((around[up] for up in layout.ancestors(block.container) if up in around), len(around))
        if steps <= LEAD_STEPS and (len(block.text) >= LEAD_CHARS or (steps <= 1 and title >= 0)):
            prose.setdefault(block.container, index)
    if not prose:
        return set()
    return {
        index
        for index in range(title + 1, first)
        if any(prose.get(up, first) <= index for up in layout.ancestors(blocks[index].container) if up not in around)
        or prose.get(blocks[index].container, first) <= index
    }


def _drop_empty_sections(layout: Layout) -> None:
    """Drops headings whose section was dropped, and headings that end the page."""
    after, gap = None, True  # the next kept block; whether something dropped lies between
    for block in reversed(layout.blocks):
        if block.dropped:
            gap = True
            continue
        if (
            block.kind == "heading"
            and block.level > 1
            and block.text[-1:] != "?"
            and gap
            and (after is None or (after.kind == "heading" and after.level <= block.level))
        ):
            block.dropped = "empty_section"
            continue
        after, gap = block, False
