"""The data report of the example, made by the CLI and looked at by a real browser."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SCREENSHOT = ROOT / "build" / "data-report.png"
"""`make screenshots` copies it into docs/."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason="needs Chromium (`apt install chromium`), which `make test` as root does"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # As root, and without a word to anybody outside.
    quiet = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=[*quiet, "--disable-component-update"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("report") / "report.html"
    argv = ["datasets", "report", str(ROOT / "examples" / "tickets" / "job.yaml"), "--html", str(page)]
    done = subprocess.run(
        [sys.executable, "-c", "from luthier.cli.main import app; app()", *argv],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return page


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 390)])
def test_the_page_shows_all_its_parts_and_the_browser_complains_of_nothing(
    browser: Browser, report: Path, scheme: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    for part in ("summary", "quality", "sources", "steps", "splits", "samples"):
        assert page.locator(f"#{part}").is_visible(), part
    assert page.locator("mark").nth(1).inner_text().startswith('{"category"')
    assert page.locator("#splits svg rect").count() > 10
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing sticks out"
    narrow = (
        "[...document.querySelectorAll('td')].filter(cell => cell.textContent.trim().length > 3 && cell.offsetWidth)"
    )
    assert page.evaluate(f"Math.min(...{narrow}.map(cell => cell.offsetWidth))") > 30, "words are read across"
    if (scheme, width) == ("light", 1100):
        SCREENSHOT.parent.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOT, full_page=True)
        assert SCREENSHOT.stat().st_size > 50_000
    page.close()
