"""The page opens offline, says what must stand beside every figure, and holds nothing that runs."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cardioclarity.evaluation.page import render
from cardioclarity.evaluation.results import Evaluation, Figures, Found, Patient, metric
from cardioclarity.intervals import METHOD


def evaluation(figures):
    names = ["beat", "ae-a", "ae-b", "ae-c", "ae-d", "ae-e", "ae-f<script>"]
    metrics = [
        metric(name, "beat_auroc", "all", [0.9 - at / 10], [np.full(3, 0.5)], n_patients=2, n_items=9)
        for at, name in enumerate(names)
    ]
    return Evaluation(
        protocol="mine<script>",
        title="a <b>title</b>",
        source="https://example.org/a-paper",
        split="train on 2, test on 3",
        model=None,
        detectors=(),
        seeds=(0,),
        found=Found(metrics=tuple(metrics), n_patients=2, n_records=3, notes=("know <this>",), figures=figures),
        versions={"numpy": "2"},
    )


@pytest.fixture(scope="module")
def page():
    curve = (np.array([0.0, 0.1]), np.array([0.5, 1.0]), np.array([1.0, 0.5]))
    return render(
        evaluation(
            Figures(
                curves=dict.fromkeys(("beat", "ae-a", "ae-b", "ae-c", "ae-d", "ae-e", "ae-f<script>"), curve),
                realised={0.01: (0.02, 0.0, 0.05), 0.1: (0.1, 0.1, 0.2)},
                measure="beat_auroc",
                patients=(Patient(name="232", value=0.4, n_positive=12, n_negative=30),),
            )
        )
    )


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in {"href", "src", "xlink:href", "action"}]
        if tag not in {"meta", "path", "rect", "polyline", "br", "link", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in {"path", "rect", "polyline"}:
            return
        assert self.open.pop() == tag


def test_the_page_is_whole_and_runs_and_loads_nothing(page):
    reader = Reader()
    reader.feed(page)

    assert reader.open == []
    assert reader.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert [address for address in reader.addresses if not address.startswith("#")] == []
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_the_page_says_what_must_stand_beside_every_figure(page):
    for said in ("mine&lt;script&gt;", "train on 2, test on 3", "2 patients, 3 records", METHOD, "know &lt;this&gt;"):
        assert said in page
    assert "For research use only" in page
    assert "the worst is 232 with 0.4" in page


def test_the_first_scorer_and_the_four_best_others_are_drawn_and_all_stand_in_the_table(page):
    (legend, *_) = re.findall(r'<ul class="legend">.*?</ul>', page, flags=re.DOTALL)

    assert re.findall(r"</svg> ([^<]+)</li>", legend) == ["beat", "ae-a", "ae-b", "ae-c", "ae-d"]
    assert "ae-f&lt;script&gt;" in page


def test_a_protocol_without_figures_has_its_table():
    page = render(evaluation(Figures()))

    assert "This protocol has no figure but the table" in page
    assert "beat_auroc" in page
