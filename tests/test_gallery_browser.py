"""The gallery in a real browser, from its files alone: the table, the filter and the comparison as a reader has them.

Chromium runs without a window; without it, its driver or selenium the tests are skipped.
"""

import json
import math
import shutil
from urllib.parse import parse_qs, urlsplit

import pytest
from chromium import NEEDS_CHROMIUM, assert_light_and_dark_follow_the_reader, chromium
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.gallery_runs import DAMAGED, SCRIPT, damage, write_picture, write_run
from tools import gallery

pytestmark = NEEDS_CHROMIUM
IDS = ("other/vae/base/0", "vae/base/0", "vae/base/1", "vae/beta4/0", "vae/base/2", "vae/base/10")
MANY = 200


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser"), "performance") as driver:
        yield driver


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Six runs of which one diverged, one is under way and one holds HTML; of a name in two folders."""
    folder = tmp_path_factory.mktemp("lab")
    write_run(folder / "runs/vae/base/0", "--seed", "0")
    write_run(folder / "runs/vae/base/1", "--seed", "1", "--dataset", SCRIPT)
    write_run(folder / "runs/vae/base/2", "--seed", "2", ended="unfinished")
    write_run(folder / "runs/vae/base/10", "--seed", "10", ended="diverged", rows=3)
    write_run(folder / "runs/vae/beta4/0", variant="beta4")
    write_run(folder / "runs/other/vae/base/0", "--learning-rate", "0.01")
    gallery.make(folder / "runs", folder / "site")
    return folder / "site"


@pytest.fixture
def page(browser, site):
    return Page(browser, site)


class Page:
    """The page, read as its reader does."""

    def __init__(self, browser, site):
        self.browser, self.address = browser, (site / "index.html").as_uri()
        self.size(1400, 900)
        self.open()

    def open(self, view=""):
        self.browser.get("about:blank")
        self.browser.get(self.address + view)

    def size(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        (found,) = self.all(selector)
        return found

    def texts(self, selector):
        read = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText.trim())"
        return self.browser.execute_script(read, selector)

    def runs(self):
        """The ids in the table, from top to bottom."""
        return self.texts("table.runs tbody th")

    def column(self, title):
        heads = [head.removesuffix(" ▲").removesuffix(" ▼") for head in self.texts("table.runs thead th")]
        return self.texts(f"table.runs tbody tr > :nth-child({heads.index(title) + 1})")

    def filter(self, text):
        """Put a whole filter into its field; returns the ids that are shown."""
        put = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.browser.execute_script(put, self.one("#filter"), text)
        return self.runs()

    def key(self, name):
        return self.one(f'[data-key="{name}"]')

    def state(self):
        return parse_qs(urlsplit(self.browser.current_url).fragment)

    def requests(self):
        """The addresses of all that was asked for since this was read last."""
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        sent = [one["params"]["request"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return [one["url"] for one in sent]

    def values(self):
        """What stands behind the names in the legend."""
        return self.texts(".legend .value")

    def side(self):
        """The lines of the table side by side: title -> cells."""
        titles, cells = self.texts("table.side tr:has(td) > th[scope=row]"), self.texts("table.side tbody td")
        width = len(cells) // len(titles)
        return {title: cells[width * line : width * (line + 1)] for line, title in enumerate(titles)}


def test_every_run_is_in_the_table_with_its_state_and_figures(page):
    assert page.runs() == sorted(IDS, key=lambda one: (one != "other/vae/base/0", one == "vae/beta4/0", len(one)))
    assert page.column("seed") == ["0", "0", "1", "2", "10", "0"]
    assert page.column("state") == ["finished", "finished", "finished", "unfinished", "diverged", "finished"]
    assert page.column("ELBO (nats/image) ↑")[:4] == ["-240.7 ± 1.2"] * 3 + [""]
    assert page.column("step")[:2] == ["200 of 5,000"] * 2
    assert "diverged at step 30" in page.column("errors")[4]
    assert page.one("#count").text == "6 of 6 runs"


def test_names_and_values_are_text_and_nothing_comes_from_elsewhere(page):
    page.requests()  # of the browser's own first page
    page.open("#runs=vae/base/1&runs=vae/base/0")
    assert page.side()["dataset ≠"] == [SCRIPT, "fashion_mnist_bundled"]
    assert page.filter(f'dataset="{SCRIPT}"') == ["vae/base/1"]
    assert page.browser.title == "Gallery of runs" and len(page.all("script")) == 1 + len(gallery.SCRIPTS)
    loaded = page.requests()
    assert len(loaded) > 10 and all(name.startswith(("file:", "data:", "about:")) for name in loaded)
    assert page.browser.get_log("browser") == []


def test_a_heading_sorts_and_what_is_missing_stays_last(page):
    page.key("sort seed").click()
    assert page.column("seed") == ["0", "0", "0", "1", "2", "10"]
    page.key("sort seed").click()
    assert page.column("seed") == ["10", "2", "1", "0", "0", "0"]
    assert page.one("[aria-sort]").get_attribute("aria-sort") == "descending"
    elbo = "sort figure ELBO (nats/image)"
    for _ in range(2):
        page.key(elbo).click()
        assert page.column("ELBO (nats/image) ↑")[-2:] == ["", ""]


FILTERS = {
    "beta4": ["vae/beta4/0"],
    "BASE seed=1": ["vae/base/1"],
    "base -other seed<2": ["vae/base/0", "vae/base/1"],
    "seed>=2 state!=diverged": ["vae/base/2"],
    "loss=1 seed>1": ["vae/base/2", "vae/base/10"],  # the last part of train/loss
    "validation/elbo<5": ["vae/base/10"],
    "learning_rate=0.01": ["other/vae/base/0"],
    'hidden="512 512" -seed=0': ["vae/base/1", "vae/base/2", "vae/base/10"],
    "ELBO>-300 beta=4": ["vae/beta4/0"],
    "-ELBO>-300": ["vae/base/2", "vae/base/10"],
    "size=none seed=10": ["vae/base/10"],
    "duration>9 -duration>12": ["vae/base/2"],
    "elbo=none": ["vae/base/2", "vae/base/10"],
    "nosuchword": [],
    "": IDS,
}


def test_the_filter_leaves_the_runs_of_which_all_words_hold(page):
    for words, found in FILTERS.items():
        assert sorted(page.filter(words)) == sorted(found), words
        assert page.one("#count").text == f"{len(found)} of 6 runs"


def test_a_filter_that_can_mean_nothing_says_so_and_hides_no_run(page):
    said = {
        "nosuch=1": "No run has anything called “nosuch”.",
        "seed<two": "“two” is no number.",
        "seed=": "Give a value",
    }
    for words, line in said.items():
        assert len(page.filter(words)) == len(IDS)
        assert page.one("#count").text.startswith(line)
        assert page.one("#filter").get_attribute("aria-invalid") == "true"


def test_ticked_runs_have_their_curves_pictures_and_differences_compared(page):
    for one in ("vae/base/0", "other/vae/base/0", "vae/base/10"):
        page.key(f"tick {one}").click()
    Select(page.key("metric")).select_by_visible_text("train/loss")
    assert len(page.all(".curve")) == 3 and len({one.get_attribute("stroke") for one in page.all(".curve")}) == 3
    assert page.values() == ["1", "1", "1"]
    Select(page.key("metric")).select_by_visible_text("validation/elbo")
    assert page.values() == ["17", "17", "0"]
    page.key("log").click()
    assert "values that are not above 0 are not drawn" in page.one("#comparison").text
    assert [one.get_attribute("alt") for one in page.all("#comparison img")] == [
        "samples of vae/base/0",
        "samples of other/vae/base/0",
    ]
    Select(page.key("pictures")).select_by_visible_text("during training")
    assert len(page.all("#comparison img")) == 3
    side = page.side()
    assert side["learning_rate ≠"] == ["0.001", "0.01", "0.001"] and side["seed ≠"] == ["0", "0", "10"]
    assert side["state"] == ["finished", "finished", "diverged"] and "beta" not in side and "run_dir ≠" not in side
    assert any(title.startswith("ELBO") and "lower bound" in title for title in side)
    page.key("all").click()
    side = page.side()
    assert side["beta"] == ["1", "1", "1"] and "learning_rate ≠" in side and "run_dir ≠" in side


def test_curves_are_drawn_where_their_values_lie(page):
    page.open("#runs=vae/base/0&metric=train/loss&log=1")
    box = "const b = document.querySelector('.curve').getBBox(); return [b.x, b.y, b.width, b.height]"
    left, top, width, height = page.browser.execute_script(box)
    points = page.one(".curve").get_attribute("d").removeprefix("M").split("L")
    (x0, y0), (x1, y1) = (map(float, points[i].split()) for i in (0, -1))
    assert len(points) == 20 and (x0, y0) == pytest.approx((left, top), abs=0.2)
    assert (x1, y1) == pytest.approx((left + width, top + height), abs=0.2)  # it falls to its least at its end
    middle = [float(point.split()[1]) for point in points][13]  # the loss is 2 - 13 / 19
    share = (middle - y0) / (y1 - y0)
    assert share == pytest.approx(1 - math.log2(2 - 13 / 19), abs=0.01)


def test_the_address_holds_the_view(page):
    page.filter("base")
    page.key("sort seed").click()
    page.key("tick vae/base/1").click()
    page.key("log").click()
    page.all("#columns summary")[0].click()
    page.key("column field beta").click()
    sent = page.browser.current_url
    before = (page.runs(), page.column("beta"), page.values())
    assert page.state()["runs"] == ["vae/base/1"] and page.state()["filter"] == ["base"]
    page.browser.get("about:blank")
    page.browser.get(sent)
    assert (page.runs(), page.column("beta"), page.values()) == before
    assert page.one("#filter").get_attribute("value") == "base" and page.key("log").is_selected()
    while chosen := page.all("#choice input:checked"):
        page.browser.execute_script("arguments[0].click()", chosen[0])
    page.open(f"#{urlsplit(page.browser.current_url).fragment}")
    assert page.texts("table.runs thead th") == ["run"]
    page.open("#runs=gone&sort=gone&columns=gone&metric=gone&view=gone&filter=%3D%3D%22")  # of another gallery
    assert len(page.runs()) in (0, len(IDS)) and page.browser.get_log("browser") == []


def test_the_keyboard_reaches_everything_and_keeps_its_place(page):
    page.one("#filter").send_keys("base")
    reached = []
    for _ in range(40):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.browser.switch_to.active_element.get_attribute("data-key"))
        if reached[-1] == "tick vae/base/0":
            break
    assert {"tick all", "Table of runs", "sort seed", "tick vae/base/0"} <= set(reached)
    page.browser.switch_to.active_element.send_keys(Keys.SPACE)
    assert page.browser.switch_to.active_element.get_attribute("data-key") == "tick vae/base/0"
    assert page.key("tick vae/base/0").is_selected() and len(page.all("#comparison .legend li")) == 1
    page.key("sort seed").send_keys(Keys.ENTER)
    assert page.browser.switch_to.active_element.get_attribute("data-key") == "sort seed"
    Select(page.key("metric")).select_by_visible_text("train/loss")
    page.key("plot").send_keys(Keys.ARROW_RIGHT)
    assert page.values() == ["2"]
    page.key("plot").send_keys(Keys.ARROW_RIGHT * 2)
    assert page.values() == ["1.8947"]


@pytest.mark.parametrize("view", ["", "#runs=vae/base/0&runs=vae/base/1&all=1", "#view=pictures"])
def test_a_narrow_page_scrolls_down_alone(page, view):
    page.size(390, 800)
    page.open(view)
    page.all("summary")[0].click()
    page.all("summary")[1].click()
    assert page.browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_light_and_dark_follow_the_reader(page):
    assert_light_and_dark_follow_the_reader(page.browser)


def test_two_hundred_runs_open_with_few_of_their_pictures(browser, tmp_path):
    first = write_run(tmp_path / "runs/vae/0/0")
    (first.samples / "step_000010.png").unlink()
    for number in range(1, MANY):
        other = tmp_path / f"runs/vae/{number // 5}/{number % 5}"
        shutil.copytree(first.folder, other)
        write_picture(other / "samples" / "samples.png", 0)
    gallery.make(tmp_path / "runs", tmp_path / "site")
    page = Page(browser, tmp_path / "site")
    loaded = "return [...document.images].filter((one) => one.complete && one.naturalWidth).length"
    assert len(page.runs()) == MANY and page.browser.execute_script(loaded) < MANY / 2
    page.one("input[value=pictures]").click()
    assert len(page.all(".cards img")) == MANY and page.browser.execute_script(loaded) < MANY / 2


def test_damaged_runs_leave_the_page_whole(browser, tmp_path):
    for name in DAMAGED:
        write_run(tmp_path / "runs" / name)
        damage(tmp_path / "runs" / name, name)
    gallery.make(tmp_path / "runs", tmp_path / "site")
    page = Page(browser, tmp_path / "site")
    browser.get_log("browser")
    assert sorted(page.runs()) == sorted(DAMAGED)
    page.key("tick all").click()
    assert len(page.all(".legend li")) == len(DAMAGED) and all(page.side()["errors"])
    page.key("all").click()
    for key in [head.get_attribute("data-key") for head in page.all("table.runs thead button")]:
        page.key(key).click()
    assert sorted(page.runs()) == sorted(DAMAGED) and browser.get_log("browser") == []
