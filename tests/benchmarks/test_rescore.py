"""Committed records score the same with the rules as they are now."""

from __future__ import annotations

import sys

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from rescore import Scorer, main, records


def test_five_hundred_committed_records_score_the_same(capsys):
    assert main(["--limit", "500"]) == 0
    assert "score differs" not in capsys.readouterr().out


def test_a_changed_score_is_noticed():
    scorer, record = Scorer(), next(records(ROOT / "leaderboards" / "results"))
    assert scorer.changed(record) == {}
    assert scorer.changed({**record, "score": 1 - record["score"]}) == {"score": (1 - record["score"], record["score"])}
    assert scorer.changed({**record, "task": "aitw", "protocol": "official"}) is None
