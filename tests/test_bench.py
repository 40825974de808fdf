"""A bench gives rows of one shape, in which its goal is judged by the ratio where there is a peer."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import RECIPE, normals

from bench import (
    command_line,
    convert,
    decode,
    detection,
    holter,
    mitbih,
    noise,
    planning,
    rhythm,
    scale,
    scoring,
    segments,
    signal,
    training,
)
from bench.__main__ import BENCHES, as_json
from bench.rounds import in_turn, least, middle, share
from bench.rows import HEADINGS, Row, table
from cardioclarity import models, readers
from cardioclarity.cohort import Candidate
from cardioclarity.evaluation.fits import beat_detectors
from cardioclarity.readers.protocol import Source
from cardioclarity.storage import open_storage
from cardioclarity.synthetic.archive import MIT, wfdb_files
from cardioclarity.synthetic.pacing import Episode, Scene
from cardioclarity.synthetic.phantom import ecg
from cardioclarity.tables import catalog

NAMES = tuple(f"{number}" for number in range(8))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for number, name in enumerate(NAMES):
        scene = Scene(
            name=name,
            seed=number,
            duration_s=90.0,
            rate_hz=360.0,
            leads=("MLII", "V1"),
            pvc_per_hour=400.0,
            pac_per_hour=200.0,
        )
        for key, data in wfdb_files(ecg(scene), MIT).items():
            (folder / key).write_bytes(data)
    return folder


def row(**fields):
    return Row(goal="S0", what="work", unit="s", **({"ours": 2.0} | fields))


def test_a_row_is_judged_by_its_ratio_and_without_one_by_our_value():
    assert row(ratio=5.0, at_least=5.0).reached
    assert not row(ratio=4.9, at_least=5.0).reached
    assert row(at_most=2.0).reached
    assert not row(at_most=1.9).reached
    assert not row(at_least=1.0, at_most=1.9).reached
    assert row(ratio=5.0).reached is None


def test_the_table_is_aligned_and_says_goal_interval_and_verdict():
    lines = table([row(ours=0.98765, low=0.9, high=1.0, at_least=0.99), row(ours=1234.5, peer=5000.0, ratio=4.05)])

    assert lines[0].split() == " ".join(HEADINGS).split()
    assert "0.9877 [0.9, 1]" in lines[1]
    assert lines[1].endswith("≥ 0.99      s     missed")
    assert {line.index(cell) for line, cell in zip(lines, ("unit", "s     missed"), strict=False)} == {
        lines[0].index("unit")
    }


def test_each_round_lets_every_way_do_every_item_once_and_none_always_comes_first():
    done = []
    ways = {name: lambda item, name=name: done.append((name, item)) for name in "abc"}

    seconds = in_turn(ways, [1, 2], rounds=3)

    assert [name for name, _ in done[::2]] == [*"abc", *"bca", *"cab"]
    assert sorted(done) == sorted([(name, item) for name in "abc" for item in (1, 2)] * 3)
    assert {own.shape for own in seconds.values()} == {(3, 2, 2)}


def test_least_and_middle_are_taken_per_item_and_a_share_side_by_side():
    ours = np.array([[1.0, 20.0], [3.0, 10.0], [2.0, 90.0]])[..., None].repeat(2, axis=2)

    assert least(ours) == 11.0
    assert middle(ours) == 22.0
    assert share(ours / 2, ours) == 0.5


def test_the_reference_library_and_the_archive_agree_on_a_record(archive):
    header = archive / "0.hea"

    record = mitbih.read(header)

    assert record.leads == ("V1", "MLII")
    assert {"N", "V"} <= set(record.annotations.symbol)


def test_without_the_real_ecgs_a_bench_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.setenv("CARDIOCLARITY_DATA", str(tmp_path))

    with pytest.raises(mitbih.NoDataError, match="CARDIOCLARITY_DATA"):
        decode.measure()


@pytest.mark.parametrize("bench", [decode, segments, convert])
def test_a_bench_of_files_has_a_peer_in_every_row(archive, bench):
    rows = bench.measure(archive, rounds=1)

    assert all(row.ours > 0 and row.peer > 0 and row.ratio > 0 for row in rows)
    assert {row.goal for row in rows} <= {"S1", "S2", "S9"}


def test_the_detector_bench_finds_the_beats_of_a_clean_archive(archive):
    rows = {row.what: row for row in signal.measure(archive, names=NAMES)}

    sensitivity = rows["R peaks, channel 1, sensitivity"]
    assert 0.95 < sensitivity.low <= sensitivity.ours <= sensitivity.high <= 1
    assert rows["rate, mean absolute error"].ours < 2
    assert rows["R peaks, per hour of one lead"].ours > 0


def test_the_detection_bench_ranks_premature_beats_first_on_patients_it_has_not_seen(archive):
    rows = {row.what: row for row in detection.measure(archive, names=NAMES, detectors=("template",))}

    assert rows["beat: auroc"].ours > 0.9
    assert rows["beat: auroc"].low <= rows["beat: auroc"].ours <= rows["beat: auroc"].high
    assert rows["beat, own R peaks: auroc"].goal == "D14"
    assert rows["template: auroc"].reached is None
    assert {"D2", "D4", "D5", "D6", "D7", "D14"} <= {row.goal for row in rows.values()}


def test_the_noise_bench_catches_noise_and_leaves_clean_windows_alone(tmp_path):
    archive = tmp_path / "ecg"
    archive.mkdir()
    for seed in range(5):
        scene = Scene(name=f"{seed}", seed=seed, duration_s=420.0, rate_hz=360.0, leads=("MLII", "V1"))
        for key, data in wfdb_files(ecg(scene), MIT).items():
            (archive / key).write_bytes(data)
    waves = np.random.default_rng(0).normal(0, 200, (60 * 360, 2)).astype("<i2")
    mixed_in = tmp_path / "noise"
    mixed_in.mkdir()
    for kind in ("em", "ma", "bw"):
        stored = "\n".join(f"{kind}.dat 16 200 16 0 0 0 0 noise{channel}" for channel in (1, 2))
        (mixed_in / f"{kind}.hea").write_text(f"{kind} 2 360 {len(waves)}\n{stored}\n")
        (mixed_in / f"{kind}.dat").write_bytes(waves.tobytes())

    measured = noise.measure(archive, names=[str(seed) for seed in range(5)], noise=mixed_in)

    rows = {row.what: row for row in measured}
    assert rows["noise_unreadable_share, all"].reached
    assert rows["noise_unreadable_share, kind:bw/snr:6"].reached is None
    assert rows["clean_unreadable_share"].reached
    assert {"D11", ""} == {row.goal for row in measured}


def test_the_rhythm_bench_ranks_windows_by_patients_held_out(tmp_path):
    for seed in range(5):
        af = (Episode(kind="af", start_s=80.0, end_s=150.0),)
        scene = Scene(name=f"{seed}", seed=seed, duration_s=150.0, rate_hz=360.0, episodes=af)
        for key, data in wfdb_files(ecg(scene), MIT).items():
            (tmp_path / key).write_bytes(data)

    rows = {row.what: row for row in rhythm.measure(tmp_path, names=[str(seed) for seed in range(5)])}

    assert rows["rhythm: auroc against all normal windows"].ours > 0.9
    assert rows["rhythm: auroc against clean ones"].goal == "D9"
    assert rows["rhythm: auroc of AFIB"].reached is None


def test_the_training_bench_times_both_halves(archive):
    prepare, fit, both = training.measure(archive, detectors=("template",))

    assert min(prepare.ours, fit.ours, both.ours) > 0
    assert fit.reached


def test_the_scoring_bench_times_every_member_and_holds_each_network_against_itself(monkeypatch):
    for name, value in {"_LEAST_S": 1e-3, "_ROUNDS": 1, "_BEATS": dict.fromkeys(scoring._BEATS, 300)}.items():
        monkeypatch.setattr(scoring, name, value)
    people = normals(10, 80)
    candidates = [
        Candidate(
            patient_id=patient,
            examples=record,
            beats=beats,
            classes=np.full(beats.shape, ""),
            windows=windows,
            rhythms=np.full(windows.shape, ""),
            sinus_rhythm=False,
        )
        for record, patient, beats, windows in zip(
            people.records, people.patients, people.beats, people.windows, strict=True
        )
    ]

    rows = scoring.measured(candidates, RECIPE, seed=0)

    timed = [one for one in rows if one.unit == "µs"]
    against = {one.what.split(": ")[1].split(" ")[0]: one for one in rows if one.unit == "beats/s"}
    assert len(timed) == len([*beat_detectors(), "rhythm", "quality", "all"])
    assert against.keys() == {"ae-dense", "ae-conv", "ae-context", "ae-intervals"}
    assert all(one.ours > 0 for one in rows)
    assert all(one.ratio == one.ours / one.peer for one in against.values())


def test_the_scale_bench_converts_and_scores_in_one_driver_and_knows_its_peak(tmp_path):
    scale._make_model(tmp_path / "model")
    scale._make_archives(tmp_path, (2, 3))

    ran = scale._run(tmp_path, 3, 0)

    assert min(ran.convert_s, ran.score_s, ran.cpu_s) > 0
    assert ran.driver_bytes > 50e6
    assert ran.worker_bytes == 0
    root = open_storage(str(tmp_path / "root-3-0"))
    scores = catalog.scores(root, model_id=models.champion(root))
    assert len({one["record_id"] for one in scores}) == 3
    assert {path.stem for path in (tmp_path / "archive-2").rglob("*.hea")} < {
        path.stem for path in (tmp_path / "archive-3").rglob("*.hea")
    }


@pytest.mark.soak
def test_the_scale_bench_sets_a_larger_archive_beside_a_small_one():
    rows = {row.what: row for row in scale.measure(n_records=(2, 4, 8), n_units=20)}

    assert rows["8 synthetic 10-s ECGs of 2 leads: both, 2 workers"].ours > 0
    assert 0.8 < rows["peak memory of the driver, against 4 records"].ratio < 1.2
    assert 0.8 < rows["peak memory of a worker, against 4 records"].ratio < 1.2
    assert 0 < rows["an empty unit on 2 workers, driver and workers together"].ours < 1000


def test_the_planning_bench_knows_half_of_what_it_delivered(tmp_path):
    all_new = planning._plan(tmp_path, 3000)
    planning._deliver_half(tmp_path, 3000)

    half_known = planning._plan(tmp_path, 3000)

    assert min(all_new.wall_s, half_known.wall_s, half_known.peak_bytes) > 0
    root = open_storage(str(tmp_path / "root"))
    assert sum(1 for _ in catalog.known_sources(root, open_storage(str(tmp_path)).url)) == 1500


def test_a_tiled_holter_is_a_readable_record_of_its_length(archive, tmp_path):
    holter.write_holter(archive / "0.hea", tmp_path / "long", hours=0.1)

    record = mitbih.read(archive / "0.hea")
    tiled = readers.read(
        Source(format="wfdb", key="holter.hea", version="", size=0), lambda key: (tmp_path / "long" / key).read_bytes()
    )
    assert (tiled.n_samples, tiled.leads) == (360 * 360, record.leads)
    assert np.array_equal(tiled.signal[:, : record.n_samples], record.signal)
    assert np.array_equal(tiled.signal[:, record.n_samples : 2 * record.n_samples], record.signal)


@pytest.mark.soak
def test_the_holter_bench_says_what_the_whole_takes_beside_its_parts(archive):
    rows = holter.measure(archive, hours=(0.05, 0.1), rounds=1, teachers=NAMES[:3], tiled="3")

    assert all(row.ours > 0 for row in rows)
    assert {"S3", "S4", "S6"} == {row.goal for row in rows}


def test_the_help_of_the_command_is_cheap_to_print_because_nothing_heavy_is_loaded():
    ours, against_prefect, heavy = command_line.measure(runs=1)

    assert ours.ours > 0
    assert against_prefect.ratio > 1
    assert heavy.ours == 0


def test_the_list_names_every_bench_with_its_goals():
    done = subprocess.run([sys.executable, "-m", "bench", "--list"], capture_output=True, text=True, check=True)

    assert [line.split()[0] for line in done.stdout.splitlines()] == list(BENCHES)
    assert all(": " in line for line in done.stdout.splitlines())


def test_the_file_holds_the_rows_with_their_verdict_and_the_load_of_the_machine():
    written = json.loads(as_json([row(at_most=3.0), row(peer=4.0)], load=(0.5, 0.4, 0.3)))

    assert [one["reached"] for one in written["rows"]] == [True, None]
    assert written["rows"][1]["peer"] == 4.0
    assert written["machine"]["load_before"] == [0.5, 0.4, 0.3]


def test_a_name_that_is_no_bench_is_refused_with_the_names_there_are():
    done = subprocess.run([sys.executable, "-m", "bench", "decoed"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "command_line" in done.stderr


def test_every_file_that_measures_is_named():
    found = {path.stem for path in Path(decode.__file__).parent.glob("*.py") if "def measure(" in path.read_text()}

    assert found == set(BENCHES)
