"""The page in a real headless browser, opened from disk with the network cut off."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.report.conftest import HOSTILE, edit_records
from vtprune_eval import cli

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as p:
        found = next((b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None)
        try:
            opened = p.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no headless browser: {str(error).splitlines()[0]}")
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
    return page.locator(f'#rows tbody td[data-key="{key}"]').all_inner_texts()


def numbers(page, key):
    return [float(t.split(" ")[0].replace(",", "")) for t in column(page, key)]


def test_sorts_both_ways(page):
    first = numbers(page, "accuracy")
    assert len(first) == 5 and first == sorted(first, reverse=True)
    page.click('button[data-key="visual_tokens"]')
    assert numbers(page, "visual_tokens") == sorted(numbers(page, "visual_tokens"), reverse=True)
    page.click('button[data-key="visual_tokens"]')
    assert numbers(page, "visual_tokens") == sorted(numbers(page, "visual_tokens"))
    assert page.get_attribute("th:has(button[data-key=visual_tokens])", "aria-sort") == "ascending"


def test_filters_narrow_table_and_plot(page):
    page.select_option("#f-method", "resize")
    assert set(column(page, "method")) == {"resize"}
    assert page.locator("#plot .point").count() == 2
    page.select_option("#f-method", "")
    page.select_option("#f-stage", "before the ViT")
    assert set(column(page, "method")) == {"pixelprune"}


def test_one_sample_set_at_a_time(page):
    options = page.locator("#f-set option").all_inner_texts()
    assert [o.split(" ")[0] for o in options] == ["mini-doc", "mini-nav"]
    before = column(page, "accuracy")
    page.select_option("#f-set", index=1)
    assert len(column(page, "accuracy")) == 5 and column(page, "accuracy") != before
    assert page.locator("#f-group option").all_inner_texts() == ["scripted stand-in: tests of the harness"]


def test_the_axis_moves_the_points(page):
    assert page.locator("#x-label").text_content().startswith("visual tokens")
    tokens = page.locator("#plot .point").evaluate_all("ps => ps.map(p => Number(p.dataset.x))")
    page.select_option("#f-axis", "kv_bytes")
    held = page.locator("#plot .point").evaluate_all("ps => ps.map(p => Number(p.dataset.x))")
    assert page.locator("#x-label").text_content().startswith("KV cache")
    assert len(held) == len(tokens) == 5 and held != tokens
    page.select_option("#f-axis", "energy_j")
    assert "No row has this cost" in page.locator("#plot").text_content()


def test_dominated_rows_are_marked_in_table_and_plot(page):
    marked = column(page, "dominated")
    assert "yes" in marked and "no" in marked
    assert page.locator("#rows tr.dominated").count() == marked.count("yes")
    assert page.locator('#plot .point[data-dominated="true"]').count() == marked.count("yes")


def test_answers_are_text_and_records_are_linked(page, board):
    page.locator("#rows tbody tr", has_text="pixelprune").filter(
        has=page.locator('td[data-key=budget]:text-is("10")')
    ).click()
    assert page.locator("#detail td.answer").first.inner_text() == HOSTILE
    assert page.locator("#detail img").count() == 0 and page.title() != "run"
    for link in page.locator("#detail a").all():
        assert (board / link.get_attribute("href")).is_file()
    assert '"budgets"' in page.locator("#detail pre").inner_text()


def test_keyboard(page):
    page.locator("#rows tbody tr").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#detail").is_visible()


def test_cells_without_an_interval_are_shown_and_drawn(page, board):
    index = board / "index.html"
    index.write_text(re.sub(r'"ci95": \[[^]]*\]', '"ci95": null', index.read_text()))
    page.goto(index.as_uri())
    assert all(t.endswith(" (few clusters)") for t in column(page, "accuracy"))
    assert page.locator("#plot .point").count() == 5
