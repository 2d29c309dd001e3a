"""Refiner replies as models gave them (or would): every reason for a reject, and what is kept."""

import json

import pytest

from webinstruct_assets.core.llm.client import LlmReply
from webinstruct_assets.stages.refinement.answers import Final
from webinstruct_assets.stages.refinement.checks import RefinedPair, check_reply, parse_reply
from webinstruct_assets.stages.refinement.defects import dangling_reference
from webinstruct_assets.stages.refinement.prompt import load_prompt

TANK = (
    "Q4)  a tank holds 80 litres , 25% is drained. how much is left ??",
    "25% of 80 = 20 , so 80-20=60 litres  (2 marks)",
)
WATER = (
    "At what speed does the water leave a hole 1.25 m below the surface? Use \\(g = 9.8\\ \\mathrm{m/s^2}\\).",
    "4.95 m/s",
)
PRIME = ("Which of these is a prime number? A) 21 B) 33 C) 47 D) 51", "C")
# As SmolLM2-135M answered it.
DNA = (
    "In a double-stranded DNA, 22 % of the bases are adenine. What percentage is guanine? (a) 22 % (b) 28 % (c) 44 % (d) 56 %",
    "(b). A pairs with T, so T is 22 % as well; the remaining 56 % are shared equally by G and C, 28 % each.",
)
HEART = (
    "What starts the heartbeat?",
    "The sinoatrial node, a patch of special muscle in the wall of the right atrium. It fires without any order from "
    "the brain; nerves merely make it faster or slower.",
)


def reply(question: str, answer: str, finish: str = "stop") -> LlmReply:
    return LlmReply(json.dumps({"question": question, "answer": answer}), finish, 100, 50)


@pytest.mark.parametrize(
    ("pair", "question", "answer"),
    [
        (TANK, "A tank holds 80 litres and 25% of it is drained. How much is left?", "25% of 80 litres is 20 litres, so $80 - 20 = 60$ litres are left."),
        (WATER, "At what speed does water leave a hole that is 1.25 m below the surface? Use $g = 9.8$ m/s$^2$.",
         r"Torricelli's law gives $v = \sqrt{2gh} = \sqrt{2 \cdot 9.8 \cdot 1.25} = 4.95$ m/s."),
        (PRIME, PRIME[0], "21, 33 and 51 are multiples of 3. The answer is C."),
        (HEART, HEART[0], "The sinoatrial node, a patch of special muscle in the wall of the right atrium, starts it. It fires without any "
         "order from the brain; nerves merely make it faster or slower."),
        (("3. How many legs do three spiders have?", "24"), "How many legs do 3 spiders have?", "A spider has 8 legs, so $3 \\cdot 8 = 24$."),
    ],
)  # fmt: skip
def test_refined(pair: tuple[str, str], question: str, answer: str) -> None:
    outcome = check_reply(*pair, reply(question, answer))
    assert (outcome.status, outcome.question, outcome.answer) == ("refined", question, answer), outcome


def test_unchanged() -> None:
    assert check_reply(*WATER, reply(*WATER)).status == "unchanged"
    assert check_reply(*WATER, reply("  ".join(WATER[0].split(" ")), WATER[1])).status == "unchanged"


@pytest.mark.parametrize(
    ("pair", "given", "reason"),
    [
        (TANK, LlmReply("", None, 0, 0, error="Error code: 400 - too long"), "llm_error"),
        (TANK, LlmReply('{"question": "A tank holds 80 litres and 25% of it is dra', "length", 100, 144), "defect_truncated"),
        (TANK, LlmReply("Revised Question: A tank holds 80 litres …", "stop", 100, 50), "defect_invalid"),
        (TANK, LlmReply('{"question": "A tank"}', "stop", 100, 50), "defect_invalid"),
        (TANK, LlmReply('{"question": ["A tank"], "answer": 60}', "stop", 100, 50), "defect_invalid"),
        (TANK, LlmReply("", "stop", 100, 0), "defect_invalid"),
        (TANK, reply("A tank holds 80 litres and 25% of it is drained. How much is left?", " "), "defect_empty"),
        (TANK, reply("", "60 litres"), "defect_empty"),
        (TANK, reply(TANK[0], "As an AI language model, I cannot drain tanks, but 60 litres."), "defect_refusal"),
        (TANK, reply(TANK[0], "I'm sorry, I can't help with that. 60 litres"), "defect_refusal"),
        (TANK, reply(TANK[0], "mathematics as LaTeX between dollar signs; remove numbering, labels and page debris. 60 litres"), "defect_leaked_prompt"),
        (TANK, reply(TANK[0], "The answer is 60 litres. " * 9), "defect_loop"),
        (TANK, reply(TANK[0], "so so so so so so so 60 litres"), "defect_loop"),
        (HEART, reply(HEART[0], "The sinoatrial node."), "defect_shortened"),
        (HEART, reply("Was löst den Herzschlag aus?", "Der Sinusknoten, ein Stück besonderen Muskels in der Wand des rechten Vorhofs. Er feuert "
         "ohne jeden Befehl des Gehirns; Nerven machen ihn nur schneller oder langsamer."), "defect_language"),
        (TANK, reply("The tank in the figure above holds 80 litres and 25% of it is drained. How much is left?", "60 litres"), "defect_not_self_contained"),
        (TANK, reply("A tank holds 80 litres. How much is left?", "60 litres"), "question_changed"),
        (TANK, reply("A tank holds 80 litres and 25% of it is drained in 3 hours. How much is left?", "60 litres"), "question_changed"),
        (WATER, reply("At what speed does the water leave a hole 1.25 m below the surface?", "4.95 m/s"), "question_changed"),
        (WATER, reply("Water leaves a hole 1.25 m below the surface at some speed, with g = 9.8 m/s^2.", "4.95 m/s"), "question_changed"),
        (PRIME, reply("Which of these is a prime number? 21, 33, 47 or 51", "C"), "question_changed"),
        (HEART, reply("What is a beaver?", HEART[1]), "question_changed"),
        (("Which organelle makes most ATP?", "the mitochondrion"), reply("Why does the mitochondrion, that organelle, make most ATP?", "the mitochondrion"),
         "question_changed"),
        (TANK, reply("A tank holds 80 litres and 25% of it is drained. How much is left?", "25% of 80 is 20, so $80 + 20 = 100$ litres."), "answer_changed"),
        (WATER, reply(WATER[0], "4.95 m/s * 1.25 m = 5.85 m/s"), "answer_changed"),
        (PRIME, reply(PRIME[0], "The answer is D."), "answer_changed"),
        (DNA, reply(DNA[0], DNA[1].replace("(b).", "(d).")), "answer_changed"),
        (HEART, reply(HEART[0], "A thing that was put there by nature so that people and animals may live long and happy lives without ever thinking about it."),
         "answer_changed"),
    ],
)  # fmt: skip
def test_rejected(pair: tuple[str, str], given: LlmReply, reason: str) -> None:
    outcome = check_reply(*pair, given, prompt_text=load_prompt("refine-small.yaml").system)
    assert (outcome.status, outcome.reason) == ("", reason), outcome
    assert outcome.detail


def test_numbers_of_the_context_may_enter_the_question() -> None:
    question = "A tank holds 80 litres and 25% of it is drained, as in chapter 12. How much is left?"
    answer = "25% of 80 = 20, so 80-20=60 litres"
    assert check_reply(*TANK, reply(question, answer)).reason == "question_changed"
    assert check_reply(*TANK, reply(question, answer), context="Chapter 12 is about tanks.").status == "refined"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (
            r'{"question": "q", "answer": "20 \times 0.5 and \frac{1}{2} \neq \beta"}',
            r"20 \times 0.5 and \frac{1}{2} \neq \beta",
        ),
        (r'{"question": "q", "answer": "\\times \(x\) \sqrt{2} \"a\" \u00e9"}', r'\times \(x\) \sqrt{2} "a" é'),
        ('{"question": "q", "answer": "one\\ntwo"}', "one\ntwo"),
        ('Here it is: {"question": "q", "answer": "one\ntwo"} Enjoy!', "one\ntwo"),
    ],
)
def test_escapes(text: str, answer: str) -> None:
    assert parse_reply(text) == RefinedPair("q", answer)


@pytest.mark.parametrize(
    "question",
    [
        "In the diagram below, what is the angle at B?",
        "Use the above equation to find x.",
        "Using the result of part (a), find the area.",
        "What is shown in this picture?",
        "See Figure 3. Which force is larger?",
        "According to the following graph, when does growth stop?",
        "Answer the previous question for n = 7.",
        "What is the mean of the values listed above?",
        "In the table below, which value is largest?",
    ],
)
def test_a_question_that_needs_what_is_not_there(question: str) -> None:
    assert dangling_reference(question)


@pytest.mark.parametrize(
    "question",
    [
        "Which of the following is a prime number? A) 21 B) 33 C) 47 D) 51",
        "What is the image of 3 under this function?",
        "Which is larger? A) 1/2 B) 2/3 C) none of the above",
        "The following reaction is at equilibrium: N2 + 3 H2 = 2 NH3. What does pressure do?",
        "A ball is thrown from 3 m above the ground. How long does it fall?",
        "Draw the graph of y = x^2 and give its vertex.",
        "Solve the following equation: 3x + 4 = 10.",
        "In the table below, which value is largest?\n\nyear | value\n1990 | 4\n2000 | 7",
        "What part (in percent) of the circle is shaded if the angle is 90 degrees?",
    ],
)
def test_a_question_that_stands_on_its_own(question: str) -> None:
    assert dangling_reference(question) is None


def corrected(question: str, answer: str, correction: object) -> LlmReply:
    return LlmReply(json.dumps({"question": question, "answer": answer, "correction": correction}), "stop", 100, 50)


WRONG = ("What is 17 * 6?", "17*6 = 112")
RIGHT = "$17 \\cdot 6 = 102$."


def test_a_correction_names_both_answers_and_its_reason() -> None:
    given = corrected(WRONG[0], RIGHT, "17 times 6 is 102, not 112.")
    outcome = check_reply(*WRONG, given, corrections=True)
    assert (outcome.status, outcome.correction) == ("corrected", "17 times 6 is 102, not 112."), outcome
    assert outcome.finals == (Final("number", "112"), Final("number", "102"))


def test_a_correction_needs_a_prompt_that_allows_it_and_a_reason_and_a_result() -> None:
    given = corrected(WRONG[0], RIGHT, "17 times 6 is 102, not 112.")
    assert check_reply(*WRONG, given).reason == "answer_changed"
    for empty in ("", "  ", None, 7):
        assert check_reply(*WRONG, corrected(WRONG[0], RIGHT, empty), corrections=True).reason == "answer_changed"
    prose = (
        "Multiply the tens first and then the ones and add what you get, as one learns it at school in the early years."
    )
    assert check_reply(*WRONG, corrected(WRONG[0], prose, "wrong"), corrections=True).reason == "answer_changed"
    # A claim without a change is no correction.
    same = corrected(WRONG[0], "17 * 6 = 112", "I fixed it.")
    assert check_reply(*WRONG, same, corrections=True).status == "refined"
    other = corrected("What is 18 * 6?", "18 * 6 = 108", "The question was wrong.")
    assert check_reply(*WRONG, other, corrections=True).reason == "question_changed"


def test_reasoning_added() -> None:
    steps = r"Torricelli's law gives $v = \sqrt{2gh} = \sqrt{2 \cdot 9.8 \cdot 1.25} = 4.95$ m/s."
    assert check_reply(*WATER, reply(WATER[0], steps)).reasoning_added
    assert not check_reply(*WATER, reply(*WATER)).reasoning_added
    assert not check_reply(*HEART, reply(*HEART)).reasoning_added
