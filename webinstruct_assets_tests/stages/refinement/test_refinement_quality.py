from webinstruct_assets.stages.refinement.quality import accuracy

GOLD = [{"url": "u", "question": "What is two plus two?", "answer": "It is four in all"}]


def row(question: str, answer: str, url: str = "u") -> dict[str, str]:
    return {"url": url, "original_question": GOLD[0]["question"], "original_answer": GOLD[0]["answer"],
            "question": question, "answer": answer}  # fmt: skip


def test_right_before_and_after() -> None:
    rows = [
        row("What is two plus two?", "It is four in all."),
        row("Name a river in France", "It is four in all"),
        row("x", "y", "elsewhere"),
    ]
    assert accuracy(rows, GOLD) == {"pairs": 2, "right_before": 1.0, "right_after": 0.5}


def test_pages_without_gold_say_nothing() -> None:
    assert accuracy([row("x", "y", "elsewhere")], GOLD) == {}
