"""report: what the tables hold becomes one page, for a run that scored, found nothing new, or is long past."""

import datetime as dt
import json
import shutil
from pathlib import Path

import pytest
from roots import NORMAL, scored
from test_report_page import Reading

from cardioclarity.commands import verbs
from cardioclarity.commands.speaking import Output
from cardioclarity.config import ReportConfig, ScoreConfig
from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.report import _judge, _quarantine, _warnings, report, without_names
from cardioclarity.score import SCORE
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, publish
from cardioclarity.work import drive


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return scored(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def page(root):
    return Path(report(ReportConfig(root=root)).path).read_text("utf-8")


@pytest.fixture
def own_root(root, tmp_path):
    """A copy of the root, for a test that changes it."""
    shutil.copytree(root, tmp_path / "root")
    return str(tmp_path / "root")


def runs(root):
    return catalog.runs(open_storage(root))


def test_the_page_lies_below_the_root_under_the_id_of_the_latest_scoring_run(root):
    result = report(ReportConfig(root=root))

    assert result.run_id == next(run["run_id"] for run in runs(root) if run["verb"] == "score")
    assert result.path == f"{root}/reports/{result.run_id}/index.html"
    assert result.n_events == len(catalog.events(open_storage(root), model_id=runs(root)[0]["model_id"]))


def test_writing_it_again_gives_the_same_bytes(root):
    first = Path(report(ReportConfig(root=root)).path).read_bytes()

    assert Path(report(ReportConfig(root=root)).path).read_bytes() == first


def test_a_named_output_is_written_there(root, tmp_path):
    result = report(ReportConfig(root=root, output=str(tmp_path / "pages" / "night.html")))

    assert Path(result.path) == tmp_path / "pages" / "night.html"
    assert Path(result.path).read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("output", ["folder/", "..", "some/.."])
def test_an_output_that_is_a_folder_is_refused(root, output):
    with pytest.raises(UsageError, match="is a folder: name the file"):
        report(ReportConfig(root=root, output=output))


def test_the_records_add_up_to_what_was_delivered(page):
    said = Reading(page).text

    assert f"records read {len(NORMAL) + 2} nothing flagged" in said
    assert "quarantined 1" in said
    assert f"{len(NORMAL) + 1} inputs = {len(NORMAL) + 1} done + 0 quarantined + 0 already done." in said


def test_the_worst_event_stands_first_with_its_limit(page):
    rows = page[page.index('<table class="events">') :]

    worst = Reading(rows[: rows.index("early beat")].rpartition("<tbody>")[0] + "</table>").text
    assert "pause" in worst
    assert "3.4 s, limit 2" in worst


def test_the_quarantine_says_why_and_names_no_file(page):
    assert "missing file 1 the archive does not hold the signal file" in Reading(page).text


def test_no_name_of_a_file_or_an_archive_is_on_the_page(page, root):
    for name in ("DOE", "JANE", "ROE", "RICHARD", "archive/", str(Path(root).parent), "normal/"):
        assert name not in page


def test_the_model_says_what_it_is_and_what_was_not_measured(page):
    said = Reading(page).text

    assert "The model, on patients it has not seen" in said
    assert "Detectors: ae-dense , quality , rhythm , template ." in said
    assert "hours of ECG. Patients, each of whom served one step: fitted on" in said
    assert "Not measured: " in said
    assert "None" not in said


def test_a_model_whose_description_is_damaged_costs_its_section_only(own_root, caplog):
    model_id = runs(own_root)[0]["model_id"]
    path = Path(own_root) / "models" / model_id / "model.json"
    path.write_bytes(path.read_bytes()[:-1])

    said = Reading(Path(report(ReportConfig(root=own_root, max_events=0)).path).read_text("utf-8")).text

    assert "The description of this model cannot be read" in said
    assert "What needs a look" in said
    assert f"model {model_id} says nothing of itself" in caplog.text


def test_unreadable_minutes_stand_by_reason(page):
    quality = Reading(page).text.rpartition("Data quality")[2]

    assert "Unreadable signal Why Minutes" in quality
    assert "flat line 0.3" in quality


def test_so_many_events_as_asked_for_get_a_row_and_a_strip(root, tmp_path):
    result = report(ReportConfig(root=root, max_events=2, output=str(tmp_path / "two.html")))

    written = Path(result.path).read_text("utf-8")
    assert written.count('<svg class="strip"') == written.count("<details") == 2
    assert result.n_events > 2


def test_a_negative_number_of_events_is_refused(root):
    with pytest.raises(UsageError, match="max_events -1"):
        report(ReportConfig(root=root, max_events=-1))


def test_a_run_that_found_nothing_new_shows_what_its_model_found_before(own_root):
    summary = drive(SCORE, ScoreConfig(root=own_root), map)

    result = report(ReportConfig(root=own_root))

    said = Reading(Path(result.path).read_text("utf-8")).text
    assert (result.run_id, summary.state) == (summary.run_id, "nothing_new")
    assert "nothing new" in said
    assert f"0 done + 0 quarantined + {len(NORMAL) + 1} already done." in said
    assert result.n_events > 0


def test_an_older_run_can_be_shown_and_says_that_another_has_scored_since(own_root):
    (older,) = (run["run_id"] for run in runs(own_root) if run["verb"] == "score")
    newer = drive(SCORE, ScoreConfig(root=own_root, pause_s=3.0, alarms_per_hour=6.0), map).run_id

    result = report(ReportConfig(root=own_root, run=older))

    said = Reading(Path(result.path).read_text("utf-8")).text
    assert result.run_id == older
    assert f"Run {newer} has scored with the same model since" in said
    assert "3.4 s, limit 3" in said
    assert "At 6 per hour" in said


def test_a_damaged_segment_costs_its_strips_and_is_named_first(own_root, caplog, capsys):
    storage = open_storage(own_root)
    worst = catalog.events(storage, model_id=runs(own_root)[0]["model_id"])[0]["segment_id"]
    shard = next(path for path in Path(own_root).glob(f"segments/{worst}.zarr/signal/c/**/*") if path.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)

    said = Reading(Path(report(ReportConfig(root=own_root)).path).read_text("utf-8")).text

    assert "events have no strip: segment" in said
    assert "There is no strip for this event." in said
    assert f"cardioclarity verify --root {own_root} --read-data" in said

    caplog.clear()
    verbs.report(root=own_root, output=Output(json=True))
    (sentence,) = json.loads(capsys.readouterr().out)["damage"]
    assert shard.name in sentence
    assert worst in sentence
    assert sentence in caplog.text


def test_a_run_that_is_not_there_lists_the_latest(root):
    with pytest.raises(NotFoundError, match="no scoring run 'nonsense'; the latest are 20"):
        report(ReportConfig(root=root, run="nonsense"))


def test_a_run_that_did_not_score_is_no_run_to_report(root):
    converted = next(run["run_id"] for run in runs(root) if run["verb"] == "convert")

    with pytest.raises(NotFoundError, match="no scoring run"):
        report(ReportConfig(root=root, run=converted))


def test_a_root_that_was_never_scored_says_what_to_run(tmp_path):
    publish.create_tables(open_storage(str(tmp_path)))

    with pytest.raises(NotFoundError, match="no scoring run to report; run: cardioclarity score"):
        report(ReportConfig(root=str(tmp_path)))


def test_a_folder_that_is_no_root_says_so(tmp_path):
    with pytest.raises(NotFoundError, match="is no CardioClarity root"):
        report(ReportConfig(root=str(tmp_path)))


@pytest.mark.parametrize(
    ("message", "key", "expected"),
    [
        ("ward/DOE-JANE.hea: no header", "ward/DOE-JANE.hea", "…: no header"),
        ("signal file DOE-JANE.dat is absent", "ward/DOE-JANE.hea", "signal file … is absent"),
        ("record DOE-JANE has 3 signals", "ward/DOE-JANE.hea", "record … has 3 signals"),
        ("'DOE JANE' of ward", "ward/DOE JANE.edf", "'…' of …"),
        ("other/ROE.dat and ROE_1.dat are absent", None, "… and … are absent"),
        ("gain '9x9(9)' is not gain[(baseline)][/units]", None, "gain '9x9(9)' is not gain[(baseline)][/units]"),
        ("0.5 mV at 360.25 Hz", None, "0.5 mV at 360.25 Hz"),
    ],
)
def test_a_message_loses_every_name_of_a_file(message, key, expected):
    assert without_names(message, key) == expected


def test_the_quarantine_is_grouped_by_reason_with_its_newest_message_and_no_name():
    def row(reason, message, source_key, day):
        seen_at = dt.datetime(2026, 11, day, tzinfo=dt.UTC)
        return {"reason": reason, "message": message, "source_key": source_key, "record_id": None, "seen_at": seen_at}

    rows = [
        row("truncated", "DOE-JANE ends early", "ward/DOE-JANE.hea", 1),
        row("bad_gain", "gain 'yy'", "ward/2.hea", 2),
        row("bad_gain", "gain 'xx'", "ward/1.hea", 3),
        row("bad_gain", "gain 'zz'", "ward/3.hea", 3),
    ]

    groups = [(group.reason, group.count, group.example) for group in _quarantine(iter(rows))]

    assert groups == [("bad_gain", 3, "gain 'xx'"), ("truncated", 1, "… ends early")]
    assert _quarantine(iter(rows[::-1])) == _quarantine(iter(rows))


def scoring(run_id, state, *, model_id="m", verb="score"):
    return {"run_id": run_id, "verb": verb, "state": state, "model_id": model_id, "started_at": run_id}


def test_limits_are_those_of_the_newest_run_of_the_model_that_published():
    runs = [
        scoring("6", "nothing_new"),
        scoring("5", "superseded"),
        scoring("4", "completed", model_id="other"),
        scoring("3", "completed", verb="train"),
        scoring("2", "completed"),
        scoring("1", "completed"),
    ]

    assert _judge(runs, runs[0])["run_id"] == "2"
    assert _judge(runs[:2], runs[0]) == runs[0]


def test_a_superseded_run_says_whose_results_are_shown():
    runs = [scoring("2", "completed"), scoring("1", "superseded")]

    first, second = _warnings(runs, runs[1])

    assert first.startswith("Another run was faster")
    assert second.startswith("Run 2 has scored with the same model since")
    assert list(_warnings(runs, runs[0])) == []


def test_every_state_that_the_tables_can_hold_is_shown_by_its_own_words(page):
    assert "nothing flagged" in page
    assert ">normal<" not in page
    assert ">anomalous<" not in page
