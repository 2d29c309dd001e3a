"""What the names of an element say about it: a reason to leave it out, and flags such as answer or question.

Words were collected in the languages whose pages are most common in Common Crawl.
"""

import re
from functools import lru_cache

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
