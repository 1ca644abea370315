"""The page in a real headless browser, opened from disk with the network cut off."""

from __future__ import annotations

import json
import re

import pytest

from tests.browser import open_browser
from tests.report.conftest import HOSTILE, edit_records
from vtprune_eval import cli

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as p:
        opened = open_browser(p)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, run, board):
    edit_records(run, "mini-doc--pixelprune@10.jsonl", lambda i, r: r.update(answer=HOSTILE, score=0.0, reason="wrong"))
    assert cli.main(["leaderboard", "build", str(run), "--dir", str(board)]) == 0
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 1100})
    tab = context.new_page()
    tab.problems = []
    tab.on("pageerror", lambda e: tab.problems.append(str(e)))
    tab.on("console", lambda m: tab.problems.append(m.text) if m.type == "error" else None)
    tab.on("request", lambda r: tab.problems.append(r.url) if not r.url.startswith("file:") else None)
    tab.goto((board / "index.html").as_uri())
    yield tab
    assert tab.problems == []
    context.close()


def column(page, key):
    return page.locator(f'#rows tr.row td[data-key="{key}"]').all_inner_texts()


def numbers(page, key):
    return [float(t.split()[0].replace("×", "")) for t in column(page, key) if t[0].isdigit()]


def line(page, name):
    return page.locator(f'#rows tr.row[data-line="{name}"]')


def test_sorts_both_ways_and_budgets_as_numbers(page):
    first = numbers(page, "y")
    assert len(first) == 5 and first == sorted(first, reverse=True)
    page.click('button[data-key="cost"]')
    assert numbers(page, "cost") == sorted(numbers(page, "cost"))
    page.click('button[data-key="cost"]')
    assert numbers(page, "cost") == sorted(numbers(page, "cost"), reverse=True)
    assert page.get_attribute("th:has(button[data-key=cost])", "aria-sort") == "descending"
    page.click('button[data-key="budget"]')
    assert [b for b in column(page, "budget") if b != "–"] == ["10", "10", "50", "50"]


def test_a_choice_of_methods_narrows_the_curves_and_full_stays(page):
    assert page.locator("#curves .curve").count() == 2
    page.uncheck('#methods input[value="resize"]')
    assert page.locator("#curves .curve").evaluate_all("cs => cs.map(c => c.dataset.method)") == ["pixelprune"]
    assert page.locator("#curves .full-line").count() == 1
    page.fill("#find", "resi")
    assert page.locator("#methods input").evaluate_all("bs => bs.map(b => b.value)") == ["resize"]
    assert {t.split()[-1] for t in column(page, "budget")} == {"–", "10", "50"}
    assert page.locator('#rows tr.row[data-line="full"]').count() == 1


def by_line(page):
    names = page.locator("#rows tr.row").evaluate_all("rs => rs.map(r => r.dataset.line)")
    return dict(zip(names, numbers(page, "y"), strict=True))


def test_one_scope_at_a_time_and_the_mean_over_its_tasks(page):
    assert page.locator("#f-task option").all_inner_texts() == ["mean over tasks", "mini-doc", "mini-nav"]
    means = by_line(page)
    page.select_option("#f-task", "mini-doc")
    doc = by_line(page)
    page.select_option("#f-task", "mini-nav")
    nav = by_line(page)
    assert set(means) == set(doc) == set(nav)
    for key, value in means.items():
        assert value == pytest.approx((doc[key] + nav[key]) / 2, abs=0.11)


def test_the_axis_moves_the_points(page):
    assert page.locator("#x-label").text_content().startswith("KV cache")
    held = page.locator("#curves .point").evaluate_all("ps => ps.map(p => Number(p.dataset.x))")
    page.select_option("#f-axis", "visual_kept_pct")
    kept = page.locator("#curves .point").evaluate_all("ps => ps.map(p => Number(p.dataset.x))")
    assert page.locator("#x-label").text_content().startswith("visual tokens into the decoder")
    assert len(held) == len(kept) == 4 and held != kept


def test_limits_leave_the_undominated_rows(page):
    before = page.locator("#within-rows tbody tr").count()
    page.locator("#max-kv_bytes").fill("0")
    assert page.locator("#rows tr.row").count() < 5
    assert 1 <= page.locator("#within-rows tbody tr").count() <= before + 1
    assert "at most" in page.locator("#sliders").inner_text()
    assert "max.kv_bytes=" in page.url


def test_a_row_opens_under_itself_with_answers_as_text(page, board):
    page.select_option("#f-task", "mini-doc")
    line(page, "pixelprune @ 10").click()
    page.wait_for_selector("#detail .sample")
    assert page.locator("tr.open + tr#detail").count() == 1
    assert HOSTILE in page.locator("#detail .said").first.inner_text()
    assert page.title() != "run"
    assert page.locator("#detail img").count() == page.locator("#detail .view").count() > 0
    loaded = "is => Promise.all(is.map(i => i.decode().then(() => i.naturalWidth > 0, () => false)))"
    assert all(page.locator("#detail img").evaluate_all(loaded))
    for link in page.locator("#detail a").all():
        assert (board / link.get_attribute("href")).is_file()
    assert page.locator("#detail pre.command").inner_text().startswith("python -m vtprune_eval --")


def test_two_rows_are_compared_sample_by_sample(page):
    page.select_option("#f-task", "mini-doc")
    line(page, "full").click()
    page.wait_for_selector("#other")
    page.select_option("#other", "pixelprune @ 10")
    page.wait_for_selector("#pair-finding")
    counts = [int(b.split()[-1]) for b in page.locator("#detail .quad button").all_inner_texts()]
    assert counts[0] == 12 == sum(counts[1:])
    assert counts[2] > 0 and counts[3] == 0  # every answer of pixelprune was made wrong
    page.click('#detail .quad button[data-key="a"]')
    assert page.locator("#detail .sample").count() == min(12, counts[2])


def test_two_rows_are_compared_by_group(page):
    page.select_option("#f-task", "mini-nav")
    line(page, "full").click()
    page.wait_for_selector("#other")
    page.select_option("#other", "resize @ 10")
    page.wait_for_selector("#pair-groups")
    page.click("#pair-groups summary")
    rows = [r.split("\t") for r in page.locator("#pair-groups tbody tr").all_inner_texts()]
    steps = [r for r in rows if r[0].startswith("step: ")]
    assert len(steps) > 1 and sum(int(r[1]) for r in steps) == 12


@pytest.fixture
def small_too(page, board, tmp_path):
    """The same board with a run of two samples, one of its tasks on no other run's page."""
    words = ["--model", "stub", "--method", "full,pixelprune,stride", "--budget", "10", "--limit", "2"]
    assert cli.main([*words, "--tasks", "mini-doc,mini-grounding", "--out", str(tmp_path / "small")]) == 0
    assert cli.main(["leaderboard", "build", str(tmp_path / "small"), "--dir", str(board)]) == 0
    page.goto("about:blank")
    page.goto((board / "index.html").as_uri())
    return page


def test_a_small_run_is_no_part_of_the_opening_view(small_too):
    page = small_too
    assert page.input_value("#f-task") == "mean over tasks"
    assert set(by_line(page)) == {"full", *(f"{m} @ {b}" for m in ("pixelprune", "resize") for b in (10, 50))}
    assert "Too few answers for the mean: mini-grounding" in page.locator("#scope-note").inner_text()
    choice = page.locator("#f-samples option").all_inner_texts()
    assert len(choice) == 2 and choice[1].startswith("mini-doc 2, mini-grounding 2")
    page.select_option("#f-samples", index=1)
    assert set(by_line(page)) == {"full", "pixelprune @ 10", "stride @ 10"}
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert set(by_line(page)) == {"full", "pixelprune @ 10", "stride @ 10"}


def test_what_was_checked_stands_beside_a_row(page):
    assert all("recomputed" in t for t in page.locator("#rows td.name").all_inner_texts())


def test_a_view_is_in_the_address(page):
    page.select_option("#f-task", "mini-nav")
    page.select_option("#f-y", "retention")
    page.uncheck('#methods input[value="resize"]')
    line(page, "pixelprune @ 50").click()
    address, rows = page.url, column(page, "y")
    page.goto("about:blank")
    page.goto(address)
    assert page.input_value("#f-task") == "mini-nav" and page.input_value("#f-y") == "retention"
    assert column(page, "y") == rows
    assert page.locator("tr.open").get_attribute("data-line") == "pixelprune @ 50"
    assert page.locator("#curves .curve").count() == 1


@pytest.mark.parametrize(("button", "start"), [("CSV", b"method,budget"), ("SVG", b"<svg"), ("PNG", b"\x89PNG")])
def test_what_is_seen_can_be_saved(page, tmp_path, button, start):
    with page.expect_download() as found:
        page.get_by_role("button", name=button, exact=True).click()
    path = tmp_path / "saved"
    found.value.save_as(path)
    assert path.read_bytes().startswith(start)


def test_keyboard(page):
    line(page, "full").focus()
    page.keyboard.press("Enter")
    assert page.locator("tr.open").get_attribute("data-line") == "full"
    assert page.locator("tr.open").get_attribute("aria-expanded") == "true"
    page.locator("tr.open").focus()
    page.keyboard.press("Enter")
    assert page.locator("tr.open").count() == 0


def test_the_curves_are_one_stop_and_arrows_walk_their_points(page):
    points = page.locator("#curves .point")
    assert page.locator('#curves .point[tabindex="0"]').count() == 1
    points.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.line") == points.nth(2).get_attribute("data-line")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.locator("tr.open").get_attribute("data-line") == points.nth(1).get_attribute("data-line")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    line(page, "full").click()
    page.wait_for_selector("#detail .samples")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    text, back = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    bright = [sum(int(v) for v in re.findall(r"\d+", c)[:3]) for c in (text, back)]
    assert (bright[0] < bright[1]) == (scheme == "light")


def test_cells_without_an_interval_are_shown_and_drawn(page, board):
    index = board / "index.html"
    index.write_text(re.sub(r'"ci95":\[[^]]*\],', "", index.read_text()))
    page.goto("about:blank")
    page.goto(index.as_uri())
    assert len(numbers(page, "y")) == 5
    assert page.locator("#curves .point").count() == 4 and page.locator("#curves .band").count() == 0


def test_target_recall_is_a_column_of_the_tasks_that_have_boxes(page, board):
    assert page.locator('button[data-key="boxed"]').count() == 0  # no box, no column
    index = board / "index.html"
    text = index.read_text()
    found = re.search(r'(<script type="application/json" id="data">)(.*?)(</script>)', text, re.DOTALL)
    data = json.loads(found[2])
    task = data["rows"][0]["task"]
    for row in data["rows"]:
        if row["task"] == task:
            row["target_recall"] = 1.0 if row["method"] == "full" else 0.25
    index.write_text(text.replace(found[0], found[1] + json.dumps(data) + found[3]))
    page.goto("about:blank")
    page.goto(index.as_uri())
    assert len({r["task"] for r in data["rows"]}) > 1  # in the mean of several tasks, too
    assert sorted(numbers(page, "boxed"), reverse=True) == [100.0, 25.0, 25.0, 25.0, 25.0]


def test_two_thousand_rows_are_one_short_table_at_first(page, board):
    index = board / "index.html"
    text = index.read_text()
    found = re.search(r'(<script type="application/json" id="data">)(.*?)(</script>)', text, re.DOTALL)
    data = json.loads(found[2])
    more = [{**r, "method": f"m{i}", "accuracy": (i % 97) / 97} for i in range(200) for r in data["rows"]]
    text = text.replace(found[0], found[1] + json.dumps({**data, "rows": data["rows"] + more}) + found[3])
    index.write_text(text)
    page.goto("about:blank")
    page.goto(index.as_uri())
    assert page.locator("#rows tr.row").count() == 60
    page.get_by_role("button", name=re.compile("show all")).click()
    assert page.locator("#rows tr.row").count() > 400
