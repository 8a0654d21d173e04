"""Records of every kind are read by one function."""

import json
from pathlib import Path

import pytest

from tokbench.errors import TokbenchError
from tokbench.records.lm_record import LanguageModelRecord
from tokbench.records.prediction_record import PredictionRecord
from tokbench.records.probe_record import ProbeRecord
from tokbench.records.read import from_values, read
from tokbench.records.record import Record

RESULTS = Path(__file__).parents[2] / "results"
KINDS = {None: Record, "run": Record, "probe": ProbeRecord, "language model": LanguageModelRecord, "prediction": PredictionRecord}
COMMITTED = sorted(path for path in RESULTS.glob("*/*.json") if "schema" in json.loads(path.read_text()))


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in COMMITTED}))
def test_committed_records_are_read_by_the_kind_they_name(folder):
    for path in (path for path in COMMITTED if path.parent.name == folder):
        values = json.loads(path.read_text())
        record = read(str(path))
        assert type(record) is KINDS[values.get("kind")], path.name
        assert record.schema == values["schema"]
        assert record.tokenizer.name == values["tokenizer"]["name"]
        written = json.loads(record.to_json())
        figures = "figures" if "figures" in values else "metrics"
        assert written[figures].keys() == values[figures].keys()


@pytest.mark.parametrize("kind", ["sorting", 7, None])
def test_records_of_kinds_that_are_not_known_are_named(kind):
    with pytest.raises(
        TokbenchError,
        match=rf"^it is the record of a {kind}, this tokbench reads those of a run or a probe or a language model or a speed test or a prediction; install a newer one$",
    ):
        from_values({"schema": 1, "kind": kind}, origin="it")


@pytest.mark.parametrize("values", [[], 7, None, {"metrics": {}}])
def test_what_is_no_record_is_refused(values):
    with pytest.raises(TokbenchError, match=r"^it is not a tokbench record: it names no schema$"):
        from_values(values, origin="it")
