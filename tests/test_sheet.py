"""A page opens with what every page must say, whoever writes the rest."""

import pages

from cardioclarity.report.page import render
from cardioclarity.sheet import opening, text


def test_a_page_opens_with_its_title_a_way_past_the_top_and_the_notice():
    html = opening(title="t", skip_to=("here", "it"), heading="H <span>h</span>", facts="<dl></dl>", notice="More.")

    assert html.startswith("<!doctype html>")
    assert "default-src 'none'" in html
    assert "<title>t</title>" in html
    assert html.index('<a class="skip" href="#here">Skip to it</a>') < html.index("<h1>H <span>h</span></h1>")
    assert html.index("<dl></dl>") < html.index("research use only. Not a medical device.</strong> More.")


def test_a_report_opens_so_and_is_closed():
    html = render(pages.view())

    assert html.startswith("<!doctype html>")
    assert html.count("<body>") == html.count("</body>") == html.count("<header>") == 1


def test_text_is_safe_in_a_quoted_attribute_and_shows_what_cannot_be_shown():
    assert text("\"<&'\u202e") == "&quot;&lt;&amp;&#x27;\N{REPLACEMENT CHARACTER}"
