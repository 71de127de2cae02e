"""How heavy the page of a report is, and how soon it is seen.

    uv run python tests/benchmarks/report_page.py runs/mnist [REPEATS]

Writes the report of the study again, with a warm process, and opens it in Chromium. Prints the
size of report.html, its height at 1280 pixels, the time to write it and the time to its first
paint (medians; less than 1 s is expected of the paint). A folder of results.json and the files of
pictures that it names is enough.
"""

import shutil
import statistics
import sys
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from kdtool.report.write import write_report
from kdtool.results.study import Results, load_results

FIRST_PAINT = """() => new Promise(resolve => new PerformanceObserver(list =>
    resolve(list.getEntriesByName("first-contentful-paint")[0]?.startTime))
    .observe({type: "paint", buffered: true}))"""


def writing_seconds(results: Results, folder: Path) -> float:
    start = time.perf_counter()
    write_report(results, folder)
    return time.perf_counter() - start


def paint_ms(browser: Browser, page: Path) -> tuple[float, int]:
    """Return the time from the request to the first paint, and the height of the page."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.goto(page.as_uri())
    first = tab.evaluate(FIRST_PAINT)
    height = tab.evaluate("document.documentElement.scrollHeight")
    context.close()
    return first, height


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    num_repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    results = load_results(folder / "results.json")
    writing_seconds(results, folder)  # matplotlib is loaded and its fonts are found from here on
    seconds = [writing_seconds(results, folder) for _ in range(num_repeats)]
    page = folder / "report.html"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        paint_ms(browser, page)  # the browser is warm from here on
        paints = [paint_ms(browser, page) for _ in range(num_repeats)]
        browser.close()
    print(f"size of report.html: {page.stat().st_size / 1000:.0f} kB")
    print(f"height at 1280 px: {paints[0][1]:,} px")
    print(f"first paint: {statistics.median(first for first, _ in paints):.0f} ms")
    print(f"time to write the report: {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
