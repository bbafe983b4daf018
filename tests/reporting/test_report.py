"""The report in a real browser with the network off, the tables through a real LaTeX, all numbers beside each other.

Run by `make test-report`; installs Chromium and LaTeX where they are missing, as root on Debian.
"""

import json
import os
import re
import shutil
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from cluster import until
from conftest import ROOT
from workflows import Workflow

pytestmark = pytest.mark.report

PACKAGES = {
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "pdflatex": "texlive-latex-base",
    "booktabs.sty": "texlive-latex-recommended",
    "pdftotext": "poppler-utils",
}
SCREENSHOTS = ROOT / "results" / "report-screenshots"
MEGABYTE = 1_000_000
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--proxy-server=127.0.0.1:9",  # nobody listens there
    "--window-size=1500,950",
)
NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?"
TITLES = {"curves": 'Scores & "more": <8_x> {y}', "scores": "100% of 8_x & more"}


@pytest.fixture(scope="module")
def tools():
    """Chromium, LaTeX and poppler are there."""
    missing = [package for name, package in PACKAGES.items() if not there(name)]
    if missing:
        assert not os.geteuid() and shutil.which("apt-get"), f"needs {missing}; can be installed by root on Debian only"
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", "-qq", *command], env=environment, check=True, timeout=600)


def there(name):
    if "." not in name:
        return shutil.which(name)
    finder = shutil.which("kpsewhich")
    return finder and subprocess.run([finder, name], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished experiment with every kind of figure and table, two seeds, and titles that are hard to write."""
    workflow = Workflow(tmp_path_factory.mktemp("report"))
    content = yaml.safe_load((ROOT / "tests" / "experiments" / "tiny.yaml").read_text())
    content.update(batch_sizes=[4], seeds=[0, 1], training={**content["training"], "segment": 8})
    content["figures"]["curves"]["title"] = TITLES["curves"]
    content["tables"]["scores"]["title"] = TITLES["scores"]
    experiment = workflow.folder / "tiny.yaml"
    experiment.write_text(yaml.safe_dump(content))
    done = workflow.run(experiment)
    assert done.returncode == 0, done.stderr
    done = workflow.run(experiment, "--report", workflow.folder / "report.html")
    assert done.returncode == 0, done.stderr
    return workflow.folder


@pytest.fixture(scope="module")
def results(folder):
    return folder / "results" / "tiny"


@pytest.fixture
def driver(tools, folder, tmp_path):
    """Chromium with the report open, the network off and downloads going to `tmp_path`."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    driver.get(f"file://{folder / 'report.html'}")
    try:
        yield driver
    finally:
        driver.quit()


class Pages:
    """What can be clicked in the report; keeps a picture of each page."""

    def __init__(self, driver):
        self.driver = driver
        self.shots = 0
        shutil.rmtree(SCREENSHOTS, ignore_errors=True)
        SCREENSHOTS.mkdir(parents=True)

    def find(self, selector):
        return self.driver.find_elements("css selector", selector)

    def shot(self, name):
        time.sleep(0.2)  # menus slide
        self.shots += 1
        self.driver.save_screenshot(SCREENSHOTS / f"{self.shots:02d}-{re.sub('[^a-z0-9]+', '-', name.lower())}.png")

    def menu(self):
        return [link.text for link in self.find("nav li a") if link.text]

    def choose(self, text):
        next(link for link in self.find("nav li a") if link.text == text).click()

    def home(self):
        self.find("nav nav ol a")[0].click()

    def rows(self):
        """The results of a section: what it is called, the button that shows it, the one that explains it."""
        rows = self.find("nav tbody tr")
        return [(row.find_element("css selector", "td").text, *row.find_elements("css selector", "a")) for row in rows]


def files(results):
    """The files that the report offers, by name."""
    kept = [*results.glob("figures/*.*"), *results.glob("tables/*.*")]
    return {path.name: path for path in kept if path.suffix != ".html"}


def test_every_page_of_the_report(driver, folder, results, tmp_path):
    assert (folder / "report.html").stat().st_size < 15 * MEGABYTE
    pages, seen, downloaded = Pages(driver), set(), set()
    assert "Experiment tiny" in driver.page_source
    pages.shot("first page")
    sections = {"Scores", "Samples", "Feature networks", "Tangents", "Toy experiment", "Tables"}
    assert sections == set(pages.menu()) - {"Workflow", "Statistics", "About"}
    for general in ("Statistics", "About", "Workflow"):
        pages.choose(general)
        pages.shot(general)
        pages.home()
    for section in sorted(sections):
        next(link for link in pages.find(".prose a") if link.text == section).click()  # on the first page
        until(pages.rows, f"the results of {section}")
        pages.home()
        pages.choose(section)
        for index in range(len(pages.rows())):
            name, show, explain = pages.rows()[index]
            seen.add(name)
            show.click()
            pages.shot(f"{section} {name}")
            driver.switch_to.frame(pages.find("iframe")[0])
            check_page(pages, f"{section} {name}")
            downloaded |= downloads(pages, results, tmp_path)
            driver.switch_to.default_content()
            explain.click()
            assert "Shown:" in pages.find(".prose-invert")[0].text
            pages.shot(f"{section} {name} explained")
            pages.home()
            pages.choose(section)
        pages.home()
    content = yaml.safe_load((folder / "tiny.yaml").read_text())
    assert len(seen) == len(content["figures"]) + len(content["tables"])
    assert {'Scores & "more": ‹8_x› (y)', TITLES["scores"]} <= seen, "braces and angle brackets mean something there"
    assert downloaded == set(files(results))
    assert not [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [address for address in asked_for(driver) if address.startswith(("http", "ws"))]


def check_page(pages, name):
    """The page in the frame: images are there, a figure can be zoomed, a table has cells."""
    pictures = pages.find("img")
    for picture in pictures:
        assert int(picture.get_property("naturalWidth")) > 0
    if not pictures:
        assert pages.find("tbody td")
        return
    view = pages.find(".view")[0]
    whole = view.screenshot_as_png
    plus, _, reset = pages.find(".zoom button")
    plus.click()
    plus.click()
    assert view.screenshot_as_png != whole
    assert pages.find(".zoom output")[0].text == "225%"
    pages.driver.switch_to.default_content()
    pages.shot(f"{name} zoomed")
    pages.driver.switch_to.frame(pages.find("iframe")[0])
    reset.click()
    assert pages.find(".zoom output")[0].text == "100%"


def downloads(pages, results, folder):
    """Click every link that downloads something; the names, once the bytes are those of the files."""
    names = set()
    for link in pages.find(".downloads a"):
        name = link.get_attribute("download")
        link.click()
        place, whole = folder / name, files(results)[name].read_bytes()
        # Chromium makes an empty file first.
        until(lambda p=place, w=whole: p.exists() and p.read_bytes() == w, f"the bytes of {name}", 20)
        (folder / name).unlink()
        names.add(name)
    return names


def asked_for(driver):
    """The addresses that the browser asked for."""
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]


def test_wheel_mouse_and_keys_move_the_picture(driver, results):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    driver.get(f"file://{results / 'figures' / 'curves.html'}")
    view, image = (driver.find_element("css selector", selector) for selector in (".view", ".view img"))

    def transform():
        scale, x, y = np.array(re.findall(r"-?[\d.]+", image.value_of_css_property("transform")), float)[[0, 4, 5]]
        return scale, x, y

    ActionChains(driver).scroll_from_origin(ScrollOrigin.from_element(view), 0, -400).perform()
    scale, x, y = transform()
    assert scale > 1.5
    ActionChains(driver).drag_and_drop_by_offset(view, 50, 30).perform()
    assert transform() == pytest.approx((scale, x + 50, y + 30), abs=1)
    ActionChains(driver).double_click(view).perform()
    assert transform() == (1, 0, 0)
    ActionChains(driver).click(view).perform()
    assert transform()[0] == 2
    view.send_keys(Keys.ARROW_RIGHT)
    assert transform()[1] < -view.size["width"] / 2
    view.send_keys("0")
    assert transform() == (1, 0, 0)


def cells_of_markdown(path):
    """The table's texts, row by row, best ones not marked."""
    rows = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in (rows[0], *rows[2:])]


def cells_of_latex(path):
    body = path.read_text().partition("\\toprule")[2].partition("\\bottomrule")[0].replace("\\midrule", "")
    rows = [row.strip() for row in body.split("\\\\\n") if row.strip()]
    return [[plain(cell) for cell in re.split(r"(?<!\\)&", row)] for row in rows]


def plain(latex):
    for written, meant in (
        ("$\\pm$", "±"),
        ("$\\times$", "×"),
        ("$\\geq$", "≥"),
        ("$\\leq$", "≤"),
        ("$\\approx$", "≈"),
        ("--", "–"),
    ):
        latex = latex.replace(written, meant)
    return re.sub(r"\\textbf\{(.*)\}|\\([&%$#_{}])", r"\1\2", latex.strip())


def cells_of_page(path):
    text = path.read_text()
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[re.sub(r"</?b>", "", cell).replace("&amp;", "&").replace("&lt;", "<") for cell in row] for row in cells]


def test_latex_of_all_tables_compiles_and_has_their_numbers(tools, results, tmp_path):
    tables = sorted(results.glob("tables/*.tex"))
    assert tables
    lines = [
        "\\documentclass{article}",
        "\\usepackage[paperwidth=100cm,paperheight=50cm]{geometry}",
        "\\usepackage{booktabs}",
        "\\begin{document}",
        *(f"\\input{{{table}}}\\clearpage" for table in tables),
        "\\end{document}",
    ]
    (tmp_path / "all.tex").write_text("\n".join(lines))
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    command = ["pdftotext", "-layout", "all.pdf", "-"]
    text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    pages = text.split("\f")
    for page, table in zip(pages, tables, strict=False):
        written = cells_of_markdown(table.with_suffix(".md"))
        numbers = re.findall(NUMBER, " ".join(cell for row in written for cell in row))
        assert numbers
        missing = [number for number in numbers if number not in re.findall(NUMBER, page)]
        assert not missing, f"{table.name}: {missing}"


def test_formats_of_a_table_have_the_same_cells(results):
    tables = sorted(results.glob("tables/*.csv"))
    assert tables
    for table in tables:
        written = cells_of_markdown(table.with_suffix(".md"))
        assert cells_of_latex(table.with_suffix(".tex")) == written
        assert cells_of_page(table.with_suffix(".html")) == written


def test_numbers_agree(results):
    """Scores, the CSVs and the cells of tables, and the CSVs of figures: the same numbers everywhere."""
    scores = pd.read_csv(results / "scores.csv")
    assert len(scores) == 4 * 4 * 2  # runs x snapshots x numbers of steps
    keys = ["label", "batch_size", "steps"]
    last = scores[scores["iteration"] == 8].groupby(keys)["mean"]
    expected = pd.DataFrame({"mean": last.mean(), "std": last.std()})
    assert expected["std"].notna().all()

    table = pd.read_csv(results / "tables" / "scores.csv").set_index(keys)
    pd.testing.assert_frame_equal(table[["mean", "std"]].sort_index(), expected, check_dtype=False)
    head, *rows = cells_of_markdown(results / "tables" / "scores.md")
    assert len(rows) * (len(head) - 1) == len(expected)
    for label, *cells in rows:
        for column, cell in zip(head[1:], cells, strict=True):
            steps, size = map(int, re.findall(r"\d+", column))
            mean, std = map(float, re.findall(NUMBER, cell))
            digits = len(re.search(r"\.(\d+)", cell)[1])
            assert (mean, std) == tuple(expected.loc[label, size, steps].round(digits))

    drawn = pd.read_csv(results / "figures" / "curves.csv")
    points = scores.groupby([*keys, "iteration"])["mean"].mean()
    assert len(drawn) == len(points)
    assert drawn.set_index([*keys, "iteration"])["mean"].to_dict() == pytest.approx(points.to_dict())
    dots = pd.read_csv(results / "figures" / "final.csv").set_index([*keys, "seed"])["mean"]
    ends = scores[scores["iteration"] == 8].set_index([*keys, "seed"])["mean"]
    assert dots.to_dict() == ends.to_dict()
