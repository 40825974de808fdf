"""The records of a protocol are found wherever they lie, or it is said which are missing."""

import pytest
from labelled import write

from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.subjects import gather
from cardioclarity.storage import open_storage


def take(*names, **fields):
    return Protocol(name="mine", kind="rpeaks", folded=names, **fields)


@pytest.fixture
def archive(tmp_path):
    write(tmp_path / "one", ("100", "101"), duration_s=10.0)
    write(tmp_path / "two" / "below", ("200",), duration_s=10.0)
    return [open_storage(str(tmp_path / name)) for name in ("one", "two")]


def test_records_are_found_in_several_archives_and_below_folders(archive):
    found = gather(take("200", "100"), archive)

    assert list(found) == ["200", "100"]
    assert found["200"].read().n_samples == 3600


def test_a_protocol_without_names_takes_what_is_there_but_for_what_it_leaves_out(archive):
    assert list(gather(take(exclude=frozenset({"100"})), archive)) == ["101", "200"]


def test_missing_records_are_named_with_how_many_of_how_many(archive):
    with pytest.raises(NotFoundError, match=r"2 of the 3 records of protocol mine are missing: 102, 103; nothing was"):
        gather(take("100", "102", "103"), archive)


def test_a_record_that_stands_in_two_places_is_refused_with_both(archive, tmp_path):
    write(tmp_path / "two", ("100",), duration_s=10.0)

    with pytest.raises(
        NotFoundError, match=r"1 records stand there more than once, such as 100: .*100\.hea, .*100\.hea"
    ):
        gather(take("100"), archive)


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_an_archive_that_is_none_is_said_to_be_none(tmp_path, what):
    place = tmp_path / "place"
    if what == "a file":
        place.write_text("no archive")

    with pytest.raises(NotFoundError, match="does not exist, or is no folder and no zip or tar file"):
        gather(take("100"), [open_storage(str(place))])


def test_a_record_that_cannot_be_read_is_named(archive, tmp_path):
    (tmp_path / "one" / "100.dat").unlink()

    with pytest.raises(NotFoundError, match="record 100 cannot be read: the archive does not hold the signal file"):
        gather(take("100"), archive)["100"].read()


def test_channels_are_told_in_the_order_of_the_file_not_of_our_leads(archive):
    subject = gather(take("100"), archive)["100"]
    record = subject.read()

    assert record.leads == ("V1", "MLII")
    assert subject.channels(record) == [1, 0]


def test_a_patient_is_the_one_whom_the_protocol_names(archive):
    found = gather(take("100", "101", patients={"101": "jane"}), archive)

    assert [one.patient for one in found.values()] == ["100", "jane"]
