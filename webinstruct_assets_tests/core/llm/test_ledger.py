import subprocess
import sys
from pathlib import Path

from webinstruct_assets.core.llm.ledger import Ledger

WRITER = """
import sys
from pathlib import Path
from webinstruct_assets.core.llm.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for n in range(300):
    ledger.put(f"{sys.argv[2]}-{n}", "m", {"text": "ü" * n})
    ledger.put(f"shared-{n}", "m", {"text": sys.argv[2]})
"""


def test_processes_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/ledger.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    ledger = Ledger(path)
    own = ledger.get_many(f"{name}-{n}" for name in "abc" for n in range(300))
    assert len(own) == 900 and own["b-7"] == {"text": "ü" * 7}
    assert len(ledger.get_many([f"shared-{n}" for n in range(300)] + ["unknown"])) == 300


def test_first_reply_stays(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.put("k", "m", {"text": "first"})
    ledger.put("k", "m", {"text": "second"})
    assert ledger.get_many(["k"]) == {"k": {"text": "first"}}
