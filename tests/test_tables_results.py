"""The results that a reader is told are the current ones, whole, and of one moment, whatever is published meanwhile."""

import numpy as np
import pytest
from table_rows import (
    new_root,
    of_beats,
    of_events,
    of_scores,
    score,
    stage,
)

from cardioclarity.errors import ConflictError, DamageError, NotFoundError
from cardioclarity.tables import catalog, commit, publish, results, snapshot
from cardioclarity.tables.schemas import MEMBERS, PARTITIONS, SCHEMAS
from cardioclarity.vocabulary import Head, Severity


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


def test_current_scores_name_the_run_its_evidence_and_the_number_of_records(root):
    score(root, "r1", ids="abc")
    score(root, "r2", ids="abc", replaces="r1", evidence="r1")
    score(root, "r3", segment="t")
    score(root, "r4", segment="u", ids="")
    score(root, "r5", model_id="other")

    assert catalog.current_scores(root, "m") == {
        "s": catalog.CurrentScores(run_id="r2", evidence_run_id="r1", n_records=3),
        "t": catalog.CurrentScores(run_id="r3", evidence_run_id="r3", n_records=1),
        "u": catalog.CurrentScores(run_id="r4", evidence_run_id="r4", n_records=0),
    }


def test_evidence_comes_back_in_its_order_with_nan_for_null(root):
    n = 70_000
    template = np.linspace(0, 1, n, dtype=np.float32)
    template[::3] = np.nan
    columns = of_beats(
        n,
        record_index=np.arange(n) // 1000,
        kind=np.where(np.arange(n) % 7 == 0, "window", "beat"),
        start_sample=np.arange(n)[::-1] * 10,
        readable=np.arange(n) % 2 == 0,
        template=template,
    )
    for segment, run_id in (("s", "r1"), ("t", "r1"), ("s", "r2")):
        place = {"run_id": run_id, "model_id": "m", "segment_id": segment}
        part = columns if (segment, run_id) == ("s", "r1") else of_beats(2)
        publish.add(root, "beats", [stage(root, "beats", part, **place)], run_id=run_id + segment)

    found = catalog.evidence(root, model_id="m", segment_id="s", run_id="r1")

    assert list(found) == [name for name in SCHEMAS["beats"].names if name not in (*PARTITIONS["beats"], "run_id")]
    np.testing.assert_array_equal(found["start_sample"], columns["start_sample"])
    np.testing.assert_array_equal(found["record_index"], columns["record_index"])
    np.testing.assert_array_equal(found["template"], template)
    np.testing.assert_array_equal(found["readable"], columns["readable"])
    np.testing.assert_array_equal(found["kind"] == "window", np.arange(n) % 7 == 0)
    assert {found[name].dtype for name in (*MEMBERS, "score", "p_value", "rr_s")} == {np.dtype(np.float32)}
    assert found["start_sample"].dtype == np.int64
    assert found["readable"].dtype == np.bool_


def test_evidence_of_no_beats_is_empty_and_absent_evidence_is_an_error(root):
    publish.add(
        root, "beats", [stage(root, "beats", of_beats(0), run_id="r1", model_id="m", segment_id="s")], run_id="r1"
    )

    assert {len(column) for column in catalog.evidence(root, model_id="m", segment_id="s", run_id="r1").values()} == {0}
    for absent in ({"model_id": "n"}, {"segment_id": "t"}, {"run_id": "r"}):
        with pytest.raises(NotFoundError, match="score the segment again"):
            catalog.evidence(root, **({"model_id": "m", "segment_id": "s", "run_id": "r1"} | absent))


def test_scores_are_the_models_own_by_record_and_head(root):
    score(root, "r1", ids="ba")
    score(root, "r2", model_id="other")

    found = catalog.scores(root, model_id="m")

    assert [(row["record_id"], row["head"]) for row in found] == [(i, head) for i in "ab" for head in sorted(Head)]
    assert found[0].keys() == set(SCHEMAS["scores"].names)
    assert found[0]["p_value"] is None


def test_events_of_a_run_that_has_not_switched_or_was_replaced_are_not_told(root):
    score(root, "r1")
    place = {"model_id": "m", "segment_id": "s"}
    publish.add(root, "events", [stage(root, "events", of_events("x"), run_id="r2", **place)], run_id="r2")
    assert [row["event_id"] for row in catalog.events(root, model_id="m")] == ["r1 s"]

    publish.switch_scores(
        root,
        [stage(root, "scores", of_scores("a"), run_id="r2", **place)],
        run_id="r2",
        model_id="m",
        replaces={"s": "r1"},
    )

    assert [row["event_id"] for row in catalog.events(root, model_id="m")] == ["x"]
    assert catalog.events(root, model_id="other") == []


def test_severe_events_come_first_then_improbable_ones_then_fixed_rules(root):
    events = of_events(
        ["low", "fixed", "medium", "rare", "rarer"],
        severity=[Severity.LOW, Severity.HIGH, Severity.MEDIUM, Severity.HIGH, Severity.HIGH],
        p_value=[1e-9, None, 1e-8, 1e-3, 1e-4],
    )
    score(root, "r1", events=events)
    score(root, "r2", segment="t", events=of_events(["rarest"], severity="high", p_value=[1e-5]))
    score(root, "r3", segment="u", events=of_events([]))

    found = [row["event_id"] for row in catalog.events(root, model_id="m")]

    assert found == ["rarest", "rarer", "rare", "fixed", "medium", "low"]
    for limit in range(7):
        limited = catalog.events(root, model_id="m", limit=limit)
        assert [row["event_id"] for row in limited] == found[:limit]


def test_a_reader_between_two_publications_looks_again(root, monkeypatch):
    """Between the look at `scores` and the one at `events`, a whole run is published and the old events are swept."""
    score(root, "r1")
    opened, nights = snapshot.open_table, iter(["r2"])

    def interrupted(root, table, **how):
        if table == "events" and (run_id := next(nights, None)):
            score(root, run_id, replaces="r1")
            publish.sweep(root, model_id="m", run_id=run_id, gone_events={("s", "r1")}, gone_beats=())
        return opened(root, table, **how)

    monkeypatch.setattr(snapshot, "open_table", interrupted)

    assert [row["event_id"] for row in catalog.events(root, model_id="m")] == ["r2 s"]


def test_a_reader_that_is_always_overtaken_gives_up_with_a_sentence(root, monkeypatch):
    score(root, "r0")
    opened, runs, busy = snapshot.open_table, iter(range(1, 99)), []

    def overtaken(root, table, **how):
        if table == "events" and not busy:
            busy.append(True)
            number = next(runs)
            score(root, f"r{number}", replaces=f"r{number - 1}")
            busy.clear()
        return opened(root, table, **how)

    monkeypatch.setattr(snapshot, "open_table", overtaken)

    with pytest.raises(ConflictError, match=r"published again and again .* run again"):
        catalog.events(root, model_id="m")


def test_results_are_of_one_moment_also_when_they_are_read_later(root):
    score(root, "r1", ids="ab", events=of_events(["low", "high"], severity=["low", "high"]))
    score(root, "r2", segment="t", evidence="r0")
    found = catalog.results(root, model_id="m")

    score(root, "r3", replaces="r1", ids="a")
    publish.sweep(root, model_id="m", run_id="r3", gone_events={("s", "r1")}, gone_beats=())

    assert (found.segment_ids, found.n_records, found.n_events) == (("s", "t"), 3, 3)
    assert (found.run_of("s"), found.run_of("t"), found.run_of("u")) == ("r1", "r2", None)
    assert (found.n_records_in("s"), found.n_records_in("u")) == (2, 0)
    assert (found.evidence_run("s"), found.evidence_run("t")) == ("r1", "r0")
    assert {row["run_id"] for row in found.scores()} == {"r1", "r2"}
    assert [row["event_id"] for row in found.events(limit=2)] == ["high", "low"]
    assert sorted(row["event_id"] for row in found.iter_events()) == ["high", "low", "r2 t"]
    assert catalog.results(root, model_id="m").run_of("s") == "r3"


def test_the_first_events_are_the_same_however_many_are_gathered_before_they_are_sorted(root, monkeypatch):
    rng = np.random.default_rng(5)
    for i in range(9):
        names = [f"{i}-{n}" for n in range(7)]
        score(root, f"r{i}", segment=f"s{i}", events=of_events(names, p_value=rng.random(7)))
    every = [row["event_id"] for row in catalog.events(root, model_id="m")]

    monkeypatch.setattr(results, "_SORTED_AT", 10)

    for limit in (0, 1, 5, 62, 63, None):
        assert [row["event_id"] for row in catalog.events(root, model_id="m", limit=limit)] == every[:limit]
    assert len(every) == 63


def test_two_files_of_scores_for_one_segment_are_damage(root):
    score(root, "r1")
    staged = stage(root, "scores", of_scores("a"), run_id="r2", model_id="m", segment_id="s")
    commit.commit(root, "scores", lambda _: commit.Change(adds=[staged]), run_id="r2")

    for ask in (lambda: catalog.current_scores(root, "m"), lambda: catalog.results(root, model_id="m")):
        with pytest.raises(DamageError, match="a second file of scores for one segment"):
            ask()
