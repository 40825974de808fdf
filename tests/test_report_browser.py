"""In a real browser the page loads nothing, complains of nothing, fits every screen and opens without a script."""

from pathlib import Path

import pages
import pytest

from cardioclarity.report.page import render

CHROMIUM = Path("/usr/bin/chromium")
SILENT = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
SCREENS = [(1600, "light"), (1280, "light"), (1280, "dark"), (768, "light"), (390, "light"), (360, "dark")]

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is not there")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=[*SILENT, "--disable-sync"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render(pages.view()), "utf-8")
    return path


@pytest.fixture
def opened(browser, file, request):
    """The page, open, with all that it asked for and complained of."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    yield page, asked, complaints
    context.close()


@pytest.mark.parametrize("opened", SCREENS, indirect=True, ids=lambda screen: f"{screen[0]}-{screen[1]}")
def test_it_fits_the_screen_and_loads_nothing_but_itself(opened, file, tmp_path):
    page, asked, complaints = opened

    width, seen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    page.screenshot(path=tmp_path / "page.png", full_page=True)

    assert width <= seen
    assert asked == [file.as_uri()]
    assert complaints == []


def test_it_has_a_title_a_language_and_one_first_heading(opened):
    page, _, _ = opened

    assert page.title() == "ECG archive report, 26 November 2026, 02:00 UTC"
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1


def test_a_strip_opens_by_mouse_and_by_keyboard_without_a_script(opened):
    page, _, _ = opened
    third, fourth = page.locator("details").nth(2), page.locator("details").nth(3)
    assert not third.locator("svg.strip").is_visible()

    third.locator("summary").click()
    fourth.locator("summary").focus()
    page.keyboard.press("Enter")

    assert third.locator("svg.strip").is_visible()
    assert fourth.locator("svg.rate").is_visible()


@pytest.mark.parametrize("opened", [(1280, "light"), (390, "light")], indirect=True)
def test_a_millimetre_of_the_paper_is_a_millimetre_of_the_page(opened):
    page, _, _ = opened

    box = page.locator("svg.strip").first.bounding_box()

    assert box["width"] == pytest.approx((15 + 9 * 25 + 15) / 25.4 * 96, abs=1)


@pytest.mark.parametrize("opened", [(390, "light")], indirect=True)
def test_on_a_narrow_screen_the_strip_scrolls_inside_its_box(opened):
    page, _, _ = opened
    box = page.locator("figure .scroll").first

    outer, inner = box.evaluate("e => [e.clientWidth, e.scrollWidth]")
    box.evaluate("e => e.scrollLeft = 400")

    assert outer < 390 < inner
    assert box.evaluate("e => e.scrollLeft") == 400
    assert box.get_attribute("tabindex") == "0"


@pytest.mark.parametrize("opened", [(1280, "light"), (1600, "light")], indirect=True)
def test_on_a_wide_screen_every_table_and_strip_is_seen_whole(opened):
    page, _, _ = opened

    hidden = page.locator(".scroll").evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth + 1).length")

    assert hidden == 0


def test_the_focus_is_seen(opened):
    page, _, _ = opened
    page.keyboard.press("Tab")

    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")

    assert page.evaluate("document.activeElement.className") == "skip"
    assert style == "solid"


@pytest.mark.parametrize("opened", [(1280, "light"), (1280, "dark")], indirect=True)
def test_the_trace_stands_out_from_the_paper_in_either_scheme(opened):
    page, _, _ = opened

    trace = page.locator("svg.strip path.trace").first.evaluate("e => getComputedStyle(e).stroke")
    paper = page.locator("svg.strip rect.paper").first.evaluate("e => getComputedStyle(e).fill")

    light = [sum(int(part) for part in colour[4:-1].split(",")) for colour in (trace, paper)]
    assert abs(light[0] - light[1]) > 550


def test_on_paper_every_strip_is_printed_and_its_switch_is_not(opened):
    page, _, _ = opened
    page.emulate_media(media="print")

    assert page.locator("details").nth(5).locator("svg.strip").evaluate("e => e.checkVisibility()")
    assert page.locator("summary").first.is_hidden()
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_a_page_of_hostile_texts_runs_none_of_them(browser, tmp_path):
    from test_report_page import HOSTILE, hostile_view

    path = tmp_path / "hostile.html"
    path.write_text(render(hostile_view()), "utf-8")
    page = browser.new_page()
    dialogs, asked = [], []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda sent: asked.append(sent.url))

    page.goto(path.as_uri())

    assert dialogs == []
    assert asked == [path.as_uri()]
    assert page.locator("script").count() == page.locator("img").count() == 0
    assert HOSTILE[:30] in page.locator("table.events td").first.inner_text()
    page.close()
