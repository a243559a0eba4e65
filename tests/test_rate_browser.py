"""The page on which people judge images, in a real browser and with a real server, which is killed in between.

Chromium runs without a window; without it, its driver, selenium or waitress the tests are skipped.
"""

import time

import pytest
from chromium import NEEDS_CHROMIUM, assert_light_and_dark_follow_the_reader, chromium
from rating_server import Server, lines, serving, write_images

pytest.importorskip("waitress", reason="needs waitress: pip install 'gen_models[rate]'")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = NEEDS_CHROMIUM
SECONDS = 30  # that a machine which is busy may take
TOO_EARLY = """
  if (current?.phase !== "waiting" || !document.querySelector(".cross")) return false;
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "r"}));
  return true;
"""  # an answer while a cross stands in the place of the image
# Where what is shown lies on the page.
BOXES = "return [...document.querySelectorAll('#stage > *')].map((one) => one.getBoundingClientRect().toJSON())"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    top = tmp_path_factory.mktemp("images")
    return {name: write_images(top / name, 60, seed) for seed, name in enumerate(("alpha", "beta", "photos"))}


@pytest.fixture
def page(browser):
    browser.get_log("browser")
    return Page(browser)


class Page:
    """The page, used as its rater does."""

    def __init__(self, browser):
        self.browser = browser
        self.size(1200, 900)

    def size(self, width, height, touch=False):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})

    def until(self, condition):
        return WebDriverWait(self.browser, SECONDS, 0.01).until(lambda _: condition())

    def one(self, name):
        return self.browser.find_element(By.ID, name)

    def open(self, server, rater=None):
        """The start page; with a rater, up to the first question."""
        self.browser.get(server.address)
        if rater is None:
            return
        self.one("rater").clear()
        self.one("rater").send_keys(rater, Keys.ENTER)
        self.until(lambda: self.one("ready").is_displayed() or self.one("end").is_displayed())
        if self.one("ready").is_displayed():
            self.browser.switch_to.active_element.send_keys(Keys.ENTER)
            self.asking()

    def phase(self):
        return self.browser.execute_script("return current && current.phase")

    def asking(self):
        self.until(lambda: self.phase() == "asking")

    def count(self):
        return self.one("count").text

    def press(self, key):
        """Answer by a key, and wait until the answer is kept."""
        self.asking()
        before = self.count()
        self.browser.switch_to.active_element.send_keys(key)
        self.until(lambda: self.one("end").is_displayed() or self.count() != before)

    def stage(self):
        read = "return [...document.querySelectorAll('#stage > *')].map((one) => one.localName)"
        return self.browser.execute_script(read)

    def said(self):
        return self.one("said").text


def test_a_rater_judges_all_images_by_the_keyboard_alone(page, folders, tmp_path):
    words = (folders["alpha"], "--real", folders["photos"], "--images", 3, "--show-ms", 0)
    with serving(*words, "--out", tmp_path / "out", "--port", 0) as server:
        page.open(server)
        assert page.browser.switch_to.active_element == page.one("rater")
        assert "cannot be changed" in page.one("about").text
        page.open(server, "  Ada   L. ")
        assert page.count() == "0 of 6" and page.stage() == ["img"]
        for number, key in enumerate(("f", "r", Keys.ARROW_LEFT, Keys.ARROW_RIGHT, "R"), 1):
            page.press(key)
            assert page.count() == f"{number} of 6"
        page.asking()
        page.one("first").send_keys(Keys.TAB, Keys.ENTER)  # from the first button to the second
        page.until(page.one("end").is_displayed)
        assert "Ada L., you have answered all 6 questions" in page.one("total").text
        page.open(server, "Ada L.")
        assert page.one("end").is_displayed()
    kept = lines(tmp_path / "out")
    assert [line["answer"] for line in kept] == ["fake", "real", "fake", "real", "real", "real"]
    assert len({line["question"] for line in kept}) == 6 and {line["rater"] for line in kept} == {"Ada L."}
    assert all(0 < line["milliseconds"] == line["shown"] < 1000 * SECONDS for line in kept)
    assert page.browser.get_log("browser") == []


def test_an_image_is_masked_after_its_time_and_may_be_answered_later(page, folders, tmp_path):
    words = (folders["alpha"], "--real", folders["photos"], "--images", 2, "--show-ms", 200)
    with serving(*words, "--out", tmp_path / "out", "--port", 0) as server:
        page.open(server, "Ada")
        page.until(lambda: page.stage() == ["canvas"])
        (mask,) = page.browser.execute_script(BOXES)
        time.sleep(0.3)
        page.browser.switch_to.active_element.send_keys("r")
        page.until(lambda: page.count() == "1 of 4")
        page.until(lambda: page.browser.execute_script(TOO_EARLY))
        page.asking()
        assert page.count() == "1 of 4"
        (image,) = page.browser.execute_script(BOXES)
        assert (mask["width"], mask["height"]) == (image["width"], image["height"])
    (line,) = lines(tmp_path / "out")
    assert 190 <= line["shown"] < 700 and line["milliseconds"] > line["shown"] + 250


def test_two_images_are_compared_by_touch_on_a_phone(page, folders, tmp_path):
    words = (folders["alpha"], folders["beta"], "--task", "prefer", "--images", 3)
    with serving(*words, "--out", tmp_path / "out", "--port", 0) as server:
        page.size(390, 780, touch=True)
        page.open(server, "Ada")
        assert page.stage() == ["img", "img"]
        left, right = page.browser.execute_script(BOXES)
        assert left["right"] < right["left"] and left["width"] == right["width"] and left["width"] % 6 == 0
        whole = "return [document.documentElement.scrollWidth <= innerWidth, document.documentElement.scrollHeight]"
        across, high = page.browser.execute_script(whole)
        assert across and high <= 780
        for name in ("first", "second"):
            assert page.one(name).rect["height"] >= 44 and page.one(name).rect["width"] >= 150
        for number, name in enumerate(("second", "first", "second"), 1):
            page.asking()
            page.one(name).click()
            page.until(lambda number=number: len(lines(tmp_path / "out")) == number)
        page.until(page.one("end").is_displayed)
    assert [line["answer"] for line in lines(tmp_path / "out")] == ["right", "left", "right"]
    assert page.browser.get_log("browser") == []


def test_a_key_that_is_held_answers_one_question(page, folders, tmp_path):
    words = (folders["alpha"], "--real", folders["photos"], "--images", 3, "--show-ms", 0)
    with serving(*words, "--out", tmp_path / "out", "--port", 0) as server:
        page.open(server, "Ada")
        for held in (False, True, True, True):
            event = {"type": "keyDown", "key": "r", "code": "KeyR", "windowsVirtualKeyCode": 82, "autoRepeat": held}
            page.browser.execute_cdp_cmd("Input.dispatchKeyEvent", event)
            page.asking()
        page.browser.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", "key": "r", "code": "KeyR"})
        assert page.count() == "1 of 6" and len(lines(tmp_path / "out")) == 1
        page.browser.switch_to.active_element.send_keys(Keys.CONTROL, "r")  # the browser's own
        assert len(lines(tmp_path / "out")) == 1


def test_a_lost_connection_is_said_and_the_answer_is_sent_until_it_is_kept(page, folders, tmp_path):
    out = tmp_path / "out"
    words = (folders["alpha"], "--real", folders["photos"], "--images", 4, "--show-ms", 0, "--out", out)
    with serving(*words, "--port", 0) as server:
        page.open(server, "Ada")
        page.press("r")
        page.asking()
        server.kill()
        page.browser.switch_to.active_element.send_keys("f")
        page.until(lambda: "The connection is lost" in page.said())
        assert page.count() == "1 of 8" and page.phase() == "sending"
        page.browser.switch_to.active_element.send_keys("r")  # changes nothing
        with serving("--out", out, "--port", server.port):
            page.until(lambda: page.count() == "2 of 8")
            page.asking()
            assert page.said() == ""
            page.press("r")
    assert [line["answer"] for line in lines(out)] == ["real", "fake", "real"]


def rate_in_four_tabs(page, server, words, count, kills):
    """Four raters answer in turn, in windows of their own; the server is killed between an answer and the next."""
    port, windows = server.port, {}
    for rater in ("Ada", "Bo", "Cy", "Di"):
        page.browser.switch_to.new_window("window")
        page.open(server, rater)
        windows[rater] = page.browser.current_window_handle
    began = time.monotonic()
    for number in range(1, count + 1):
        for rater, window in windows.items():
            page.browser.switch_to.window(window)
            page.asking()
            if number in kills and rater == "Cy":
                server.kill()
                page.browser.switch_to.active_element.send_keys("r")  # nobody is there who would keep it
                server = Server(*words, "--port", port)
                page.until(lambda number=number: page.count().startswith(f"{number} of "))
            else:
                page.press("f" if number % 2 else "r")
    seconds = time.monotonic() - began
    for window in windows.values():
        page.browser.switch_to.window(window)
        page.browser.close()
    page.browser.switch_to.window(page.browser.window_handles[0])
    server.kill()
    return 4 * count / seconds * 60


@pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_four_tabs_with_kills_in_between_lose_no_answer(page, folders, tmp_path, count):
    """The slow one gives 200 answers, and a machine that is not busy takes less than a minute for them."""
    out, kills = tmp_path / "out", {count // 3, 2 * count // 3}
    words = (folders["alpha"], "--real", folders["photos"], "--images", count // 2, "--show-ms", 0, "--out", out)
    rate = rate_in_four_tabs(page, Server(*words, "--port", 0), words, count, kills)
    print(f"{rate:.0f} answers a minute")
    kept = lines(out)
    assert len(kept) == len({(line["rater"], line["question"]) for line in kept}) == 4 * count
    for rater in ("Ada", "Bo", "Cy", "Di"):
        wanted = ["r" if rater == "Cy" and n in kills else "f" if n % 2 else "r" for n in range(1, count + 1)]
        assert [line["answer"][0] for line in kept if line["rater"] == rater] == wanted


def test_names_are_text_and_what_is_none_is_said(page, folders, tmp_path):
    words = (folders["alpha"], "--real", folders["photos"], "--images", 1, "--show-ms", 0)
    with serving(*words, "--out", tmp_path / "out", "--port", 0) as server:
        page.open(server)
        page.one("rater").clear()
        page.one("rater").send_keys("   ", Keys.ENTER)
        page.until(lambda: "That is no name" in page.said())
        page.open(server, "<b id=bad>&amp;")
        page.press("r")
        page.press("r")
        assert "<b id=bad>&amp;, you have answered all 2" in page.one("total").text
        assert not page.browser.find_elements(By.ID, "bad")


def test_light_and_dark_follow_the_reader(page, folders, tmp_path):
    words = (folders["alpha"], "--real", folders["photos"], "--images", 1)
    with serving(*words, "--out", tmp_path / "out", "--port", 0) as server:
        page.open(server)
        assert_light_and_dark_follow_the_reader(page.browser)
