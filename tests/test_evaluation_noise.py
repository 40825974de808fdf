"""Noise is mixed in as the published database has it, and what it makes unreadable is counted."""

from dataclasses import replace

import fits
import numpy as np
import pytest
from ecg_files import wfdb_header
from labelled import write

from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation.noise import (
    Mix,
    Noise,
    measure,
    mixed_record,
    noise_gain,
    noise_power,
    noise_record,
    signal_power,
    trimmed_mean,
)
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.subjects import gather
from cardioclarity.readers import wfdb_signal
from cardioclarity.storage import open_storage
from cardioclarity.synthetic.archive import MIT, digitise

NAMES = ("a", "b", "c")
MIX = {"kinds": ("em",), "also": ("ma",), "snr_db": (0.0,), "first_s": 20.0, "period_s": 20.0}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three records, and two noise records of which one is loud at the frequencies of a beat."""
    folder = write(tmp_path_factory.mktemp("noisy"), NAMES, duration_s=80.0)
    rng = np.random.default_rng(0)
    for kind in ("em", "ma_first10"):
        noise = np.repeat(rng.normal(size=(2, 2000)).astype(np.float32), 12, axis=1)
        signal = digitise(noise, MIT)
        (folder / f"{kind}.hea").write_bytes(wfdb_header(signal, name=kind, leads=("noise1", "noise2")))
        (folder / f"{kind}.dat").write_bytes(wfdb_signal.encode(signal, 212))
    return [open_storage(str(folder))]


def protocol(**fields):
    return Protocol(
        name="m", kind="noise", n_folds=3, exclude=frozenset({"em", "ma_first10"}), **({"noise": MIX} | fields)
    )


def test_noisy_and_clean_stretches_alternate_after_the_clean_beginning():
    mix = Mix(kinds=("em",))

    assert mix.noisy(np.array([0.0, 299.0, 300.0, 419.0, 420.0, 539.0, 540.0])).tolist() == [
        *(False, False, True, True),
        *(False, False, True),
    ]


def test_each_channel_is_scaled_to_its_own_signal_power_and_only_noisy_stretches_change(archive):
    subject = gather(protocol(folded=("a",)), archive)["a"]
    record, noise = subject.read(), noise_record(archive, "em")
    mix = Mix(kinds=("em",), first_s=20.0, period_s=20.0)

    mixed = mixed_record(record, noise, subject.channels(record), 6.0, mix)

    added = (mixed.signal.astype(float) - record.signal) / record.gain[:, None]
    assert not added[:, : 20 * 360].any()
    assert not added[:, 40 * 360 : 60 * 360].any()
    for row in range(2):
        wanted = signal_power(record, row) / 10**0.6
        assert added[row, 20 * 360 : 40 * 360].var() == pytest.approx(wanted, rel=0.15)


def test_the_gain_gives_the_ratio_of_powers():
    assert noise_gain(8.0, 2.0, 0.0) == 2.0
    assert 10 * np.log10(8.0 / (noise_gain(8.0, 2.0, 6.0) ** 2 * 2.0)) == pytest.approx(6.0)
    assert noise_gain(1.0, 0.0, 6.0) == 0.0


def test_powers_leave_out_the_extremes():
    assert trimmed_mean(np.array([*([1.0] * 38), 1e9, -1e9])) == 1.0
    assert trimmed_mean(np.zeros(0)) == 0.0
    assert noise_power(np.tile([1.0, -1.0], 500), 10.0) == pytest.approx(1.0)


def test_noise_of_another_rate_is_brought_to_the_records():
    noise = Noise(kind="em", rate_hz=100.0, signal=np.ones((1, 100)))

    assert noise.at(200.0).shape == (1, 200)
    assert noise.at(100.0) is noise.signal


def test_what_noise_makes_unreadable_is_counted_by_kind_and_what_is_told_only_is_not_in_the_sum(archive):
    found = measure(protocol(), gather(protocol(), archive), archive, None)

    figures = {(one.name, one.subset): one for one in found.metrics}
    assert figures["noise_unreadable_share", "kind:em/snr:0"].value > 0.5
    assert figures["clean_unreadable_share", "all"].value < 0.2
    assert (
        figures["noise_unreadable_share", "all"].n_items == figures["noise_unreadable_share", "kind:em/snr:0"].n_items
    )
    assert ("noise_unreadable_share", "kind:ma/snr:0") in figures
    assert np.isnan(figures["vt_unreadable_share", "all"].value)
    assert found.n_patients == 3


def test_mixed_records_are_prepared_with_every_setting_of_the_given_model(archive):
    model = fits.model("template only")
    short = replace(model, recipe=replace(model.recipe, window_s=5.0))

    found = measure(protocol(), gather(protocol(), archive), archive, short)

    figures = {(one.name, one.subset): one for one in found.metrics}
    assert figures["noise_unreadable_share", "kind:em/snr:0"].n_items == 3 * 8


def test_a_noise_record_that_is_missing_is_named_with_where_to_get_it(archive):
    other = protocol(noise=MIX | {"kinds": ("bw",)})

    with pytest.raises(
        NotFoundError, match=r"the noise record bw is missing; give the folder of the MIT-BIH Noise Stress"
    ):
        measure(other, gather(other, archive), archive, None)


@pytest.mark.real_data
def test_the_gains_are_those_of_the_published_mix(real_data):
    archives = [open_storage(str(real_data / name)) for name in ("mitdb", "nstdb")]
    subject = gather(Protocol(name="m", kind="rpeaks", folded=("118",)), archives)["118"]
    record, noise = subject.read(), noise_record(archives, "em")

    gains = [
        noise_gain(signal_power(record, row), noise_power(own, 360.0), 6.0) * record.gain[row]
        for own, row in zip(noise.signal, subject.channels(record), strict=True)
    ]

    assert gains == pytest.approx([1.483, 3.83], rel=0.02)
