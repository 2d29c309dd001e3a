"""What a question looks like in plain text: labels, markers, question-like lines.

Pure functions over strings, shared by the rules over structure and by extraction's choice of pages for the LLM.
"""

import re

# "Question 3.", "Exercise 1.2:", "Q:", "Problem 4 (5 marks)"; the label alone may be a whole heading.
QUESTION_MARK = re.compile(
    r"(?:(?:the|a|our|reader|student|pupil|visitor|listener)(?:['’]s)?\s+)?(?P<word>question|problem|exercise|example|task|puzzle|quiz question|review question|practice problem|kata|part|card|"
    r"frage|aufgabe|pregunta|ejercicio)s?(?:\s+(?:for|of)\s+[a-z ]{3,20})?\s*(?P<number>[#№]?\s*\d+(?:\.\d+)*[a-z]?|[IVX]+|[A-Z])?\s*"
    r"(?:[\[(][^\])]{0,30}[\])])?\s*(?P<end>[.:)–—-]+|$)\s*"
    r"|(?P<q>q|que|ques)\s*\.?\s*(?P<qn>\d{0,3})\s*[.:)]+\s*",
    re.IGNORECASE,
)
ANSWER_WORDS = r"(?:(?:model|sample|worked|full|short|correct|suggested|example|detailed|our|final)\s+)*(?:answer|solution|soln|ans|working|explanation|reply|resolution|lösung|antwort|respuesta|solución|réponse)"
ANSWER_MARK = re.compile(rf"(?:{ANSWER_WORDS})(?:\s*(?:to|for)?\s*(?:question|problem|exercise|example)?\s*(?P<number>\d+(?:\.\d+)*))?\s*(?:[.:)–—-]+\s*|$)|a\s*\.?\s*\d{{0,3}}\s*:\s*", re.IGNORECASE)  # fmt: skip
ANSWER_INSIDE = re.compile(r"(?:(?<=[.?!:$)\]*_])|(?<=\n))\s*[(\[*_]{0,3}\s*(?-i:A|S)(?:(?<=A)nswer|(?<=A)ns|(?<=S)olution)\s*[.:][*_]{0,3}\s+", re.IGNORECASE)  # fmt: skip
KEY_HEADING = re.compile(
    r"(?:(?:the|model|short|full|worked|sample|quick|all|expected|correct)\s+)*(?:answers?|solutions?|answer key|key|marking scheme|mark scheme|answer sheet|marking (?:key|guide|notes)|results)"
    r"(?:\s+(?:and|to|with|for|in)\s+[\w ,-]{1,50})?\s*[.:]?",
    re.IGNORECASE,
)
KEY_PREFIX = re.compile(r"(?:the\s+)?(?:answers?|key|answer key|solutions?|results)\s*:\s*(?=\S)", re.IGNORECASE)
OPENER = re.compile(
    r"(?:(?:click|tap|press|please)\b.{0,20})?(?:show|see|view|reveal|check|open|display|hide|toggle|get|the|worked|full|model|our)?\s*(?:me\s+)?(?:the\s+|my\s+|a\s+)?"
    r"(?:worked\s+|full\s+|model\s+|correct\s+|sample\s+)?(?:answers?|solutions?|explanation|working|worked answer|result|spoiler|lösung|antwort)s?\b.{0,25}",
    re.IGNORECASE,
)
HINT = re.compile(r"(?:show |see |need |get )?(?:a |the |me )?hints?\b", re.IGNORECASE)
IMPERATIVE = re.compile(
    r"(?:(?:now|then|hence|first|next|also|please|using [^,]{3,60},|by [^,]{3,60},|without [^,]{3,60},|for [^,]{3,80},|in [^,]{3,80},|if [^,]{3,120},|let [^.]{3,160}\.)\s+)?"
    r"(?:find|solve|show that|calculate|determine|compute|prove|evaluate|simplify|explain (?:why|how|what|the|in)|describe|state (?:the|why|two|three|one|and)|"
    r"how (?:many|much)|work out|sketch|derive|differentiate|integrate|factori[sz]e|expand|balance|name (?:the|two|three|one|a)|"
    r"give (?:the|a|an|two|three|one|its)|write (?:a|an|the|down|out|\$)|list (?:the|all|two|three)|estimate|convert|predict|identify|"
    r"draw|verify|complete the|choose the|define|compare|arrange|suggest|deduce|express|rewrite|translate|correct this|"
    r"classify|outline|discuss|justify|decide whether|test whether|which of)\b",
    re.IGNORECASE,
)
ASKS = re.compile(r"\?(?:[\s\"'”»)\]*_$]|$)")
NOT_ASKED = re.compile(
    r"^(?:any (?:questions|comments)|got a question|have (?:a|any) questions?|questions|comments|need help|why (?:us|choose us)|who we are|"
    r"what do you think|did you (?:like|find|know)|was this|looking for|forgot|what(?:'s| is) new|still have|ready to|new here)\b",
    re.IGNORECASE,
)
LABEL = re.compile(
    r"[(\[]?(?P<label>\d{1,3}(?:\s?[(.]?[a-h]\)?)?|[a-h]|[ivx]{1,4})(?:[)\].:]\)?(?:\s+(?=\S)|$)|\s+[–—-]\s+(?=\S))"
)
MARKS = re.compile(r"\s*[\[(]\s*\d+\s*(?:marks?|points?|pts?|p)\s*[\])]\s*$", re.IGNORECASE)


def asks(text: str) -> bool:
    """Whether a text holds a question sentence that is not the site talking to its readers."""
    return ASKS.search(text) is not None and not (len(text) < 80 and NOT_ASKED.search(text))


def question_like(text: str) -> bool:
    """Whether a line asks or sets a task: a question mark, a question label, or an imperative of exercises."""
    stripped = text.lstrip("#-*•> ").strip()
    if not stripped:
        return False
    label = LABEL.match(stripped)
    if label:
        stripped = stripped[label.end() :]
    if asks(stripped):
        return True
    mark = QUESTION_MARK.match(stripped)
    if mark and (mark["number"] or mark["q"]):
        return True
    return IMPERATIVE.match(stripped) is not None or any(
        IMPERATIVE.match(sentence) for sentence in re.split(r"(?<=[.:;])\s+", stripped)[1:4]
    )


OPEN_TAIL = 60  # characters that may follow a question on its line: a hint, the marks, a choice of units


def open_question(line: str) -> bool:
    """Whether a line asks for an answer that can stand on other lines.

    A question in the middle of a paragraph is answered there, or rhetorical; nothing could be pointed at.
    """
    if not question_like(line):
        return False
    stripped = line.strip()
    marks = [found.end() for found in ASKS.finditer(stripped)]
    if not marks:
        return True
    if IMPERATIVE.match(stripped) or LABEL.match(stripped) or QUESTION_MARK.match(stripped):
        return True
    return len(stripped) - marks[-1] <= max(OPEN_TAIL, 0.35 * len(stripped))
