"""Final answers: what a text ends in, and when two texts end in the same."""

import threading

import pytest

from webinstruct_assets.stages.refinement.answers import (
    final_answer,
    numbers,
    options,
    plain,
    same_expression,
    same_final,
)

CHOICE = "Which gas rises in a flame test? (A) oxygen (B) hydrogen (C) carbon dioxide (D) none"


def test_options() -> None:
    assert options(CHOICE) == {"A": "oxygen", "B": "hydrogen", "C": "carbon dioxide", "D": "none"}
    assert options("Pick one:\nA. red\nB. blue") == {"A": "red", "B": "blue"}
    assert options("Vitamin C. helps") == {}
    assert options("Show that (a) holds.") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\(\frac{1}{2}\)", "1/2"),
        (r"$3.0 \times 10^{-2}$ m", "3.0 * 10^-2  m"),
        (r"1{,}250 \text{ kg}", "1250  kg"),
        ("x² − 1", "x^2 - 1"),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text).split() == expected.split()


def test_numbers() -> None:
    assert numbers("0.50 kg and 1,000 N at $q^2$") == numbers("1000 N, 0.5 kg, q2")
    assert numbers(r"\(7^{2026}\)") == {"7", "2026"}


@pytest.mark.parametrize(
    ("question", "answer", "kind", "value"),
    [
        (CHOICE, "B", "choice", "B"),
        (CHOICE, "(b)", "choice", "B"),
        (CHOICE, "B. Hydrogen burns with a pop.", "choice", "B"),
        (CHOICE, "Oxygen does not burn itself, so the answer is (B).", "choice", "B"),
        (CHOICE, "hydrogen", "choice", "B"),
        (CHOICE, "(b). It has 28 % of the weight of air.", "choice", "B"),
        (CHOICE, "b) it burns", "text", "b it burns"),
        (CHOICE, "The lightest one, that is (b), rises.", "choice", "B"),
        ("What is 6 x 7?", "So we get \\boxed{42}.", "number", "42"),
        ("Is 91 prime?", "No, since 91 = 7 · 13.", "yes_no", "no"),
        ("True or false: cats fly", "The statement is false.", "yes_no", "no"),
        ("How many calls?", "39. Each of the 19 values makes two calls, that is 38, plus one.", "number", "39"),
        ("How fast?", r"\(v = 20 \times 0.040 = 0.80\) m/s.", "number", "0.80"),
        ("How many voles?", "N = 60·48/9 = 320 voles", "number", "320"),
        ("Find the derivative.", r"By the product rule, \(f'(x) = (1+x)e^x\).", "expression", "(1+x)e^x"),
        ("Which organelle?", "The mitochondrion.", "text", "the mitochondrion"),
    ],
)
def test_final_answer(question: str, answer: str, kind: str, value: str) -> None:
    final = final_answer(question, answer)
    assert (final.kind, final.value) == (kind, value)


def test_prose_has_no_short_final_answer() -> None:
    prose = (
        "Steel conducts heat away from the hand much faster than wood does, and so the hand cools and it feels colder."
    )
    assert final_answer("Why?", prose).kind == "prose"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("176", r"The area is $16 \cdot 11 = 176$ square metres."),
        ("0.5", "The probability is $0.50$."),
        ("320 voles", r"$N = 60 \cdot \frac{48}{9} = 320$ voles."),
        (r"x = \frac{1}{2}", "We get $x = 1/2$."),
        (r"\(3x^2 + 6x\)", "The derivative is $3x(x + 2)$."),
        ("The mitochondrion", "Energy is released in it: it is the mitochondrion."),
        ("5 km", "The distance is 5 kilometres."),
        ("1.0 m/s and 4.0 m/s", "The gliders move at 1.0 m/s and at 4.0 m/s."),
        ("Yes", "Yes. Both sides are equal."),
    ],
)
def test_the_same(before: str, after: str) -> None:
    final = same_final("What is it?", before, after)
    same, said = final.same, str(final)
    assert same, said


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("176", r"The area is $16 \cdot 12 = 192$ square metres."),
        ("176", "The area is large."),
        ("5 km", "The distance is 5 m."),
        (r"\(3x^2 + 6x\)", "The derivative is $3x^2 + 5x$."),
        ("The mitochondrion", "It is the ribosome."),
        ("The mitochondrion", "It is not the mitochondrion."),
        ("1.0 m/s and 4.0 m/s", "The second glider moves at 4.0 m/s."),
        ("Yes", "No. The sides differ."),
        ("Steel conducts heat away from the hand much faster than wood, and so the same temperature feels colder.",
         "Wood is a natural material, so people think of trees and summer when they touch it, and this feels pleasant."),
    ],
)  # fmt: skip
def test_not_the_same(before: str, after: str) -> None:
    final = same_final("What is it?", before, after)
    same, said = final.same, str(final)
    assert not same, said


def test_expressions_are_compared_in_any_thread_and_towers_are_not_tried() -> None:
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(same_expression("(x+1)^2", "x^2+2x+1")))
    thread.start()
    thread.join()
    assert seen == [True]
    assert not same_expression("x+9^9^9^9", "9^9^9^9+x")
