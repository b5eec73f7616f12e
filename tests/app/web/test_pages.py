"""The pages in a real browser, from the login to the roll-back."""

import re
from collections import defaultdict
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Route, expect
from sqlalchemy import Engine

from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import BlobStore
from tests.app.web.conftest import Open
from tests.app.web.showcase import begin, fail, finish, furnish, go_on
from tests.fixtures.browser import barriers
from tests.fixtures.versions import add_version

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

PHONE = {"width": 375, "height": 700}
VERSIONS = "/ui/models/default"
SWAGGER = {
    "heading-order",
    "landmark-main-is-top-level",
    "landmark-no-duplicate-main",
    "landmark-unique",
    "nested-interactive",
}
"""What Swagger UI's own markup breaks; its colours are ours."""


@pytest.fixture
def tasks(engine: Engine, blobs: BlobStore) -> dict[str, str]:
    """Ids of tasks by name; the service has versions beside them."""
    return furnish(engine, blobs)


def every_page(tasks: dict[str, str]) -> list[str]:
    shown = ("bicycles from the yard", "buses", "tables", "version 5", "version 3")
    return [
        "/",
        "/ui/tasks",
        *(f"/ui/tasks/{tasks[name]}" for name in shown),
        VERSIONS,
        *(f"{VERSIONS}/versions/{number}" for number in (1, 3, 5)),
        "/ui/compare",
        "/ui/compare?model=default&version=3&other=5",
    ]


def test_nobody_is_kept_out(open_page: Open, tasks: dict[str, str], site: str) -> None:
    page = open_page("/", viewport=PHONE, bypass_csp=True)
    for path in every_page(tasks):
        page.goto(site + path)
        if path in ("/", VERSIONS):
            expect(page.locator(".plot canvas")).to_be_visible()
        assert barriers(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
    page.goto(f"{site}{VERSIONS}/versions/3")
    for button in ("Promote…", "Delete…"):
        page.get_by_role("button", name=button).click()
        assert barriers(page) == []
        page.keyboard.press("Escape")


def one_of_each(document: Any) -> dict[str, Any]:
    """Return a document with the first operation of each look that the reference gives them."""
    seen, paths = set(), defaultdict[str, dict[str, Any]](dict)
    for path, operations in document["paths"].items():
        for method, said in operations.items():
            look = (*said["tags"], method, said.get("deprecated", False))
            if look not in seen:
                paths[path][method] = said
            seen.add(look)
    return {**document, "paths": paths}


def test_nobody_is_kept_out_of_what_else_there_is(
    open_page: Open,
    tasks: dict[str, str],
    site: str,
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
    document: Any,
) -> None:
    with write_session(engine) as session:
        add_version(session, blobs, ["wall"], model="street")
    page = open_page("/ui/models", allowed=("404",), viewport=PHONE, bypass_csp=True)
    few = one_of_each(document)
    page.route("**/openapi.json", lambda route: route.fulfill(json=few))
    for path, heading in (
        ("/ui/models", "Models"),
        ("/docs", "SATS"),
        ("/ui/nowhere", "Not found"),
        ("/login", "Log in"),
    ):
        if path == "/login":
            with write_session(engine) as session:
                create_key(session, read_secret(settings), "operator", [Scope.ADMIN])
        page.goto(site + path)
        expect(page.locator("h1, h2").filter(has_text=heading).first).to_be_visible()
        if path == "/docs":
            drawn = page.locator(".opblock-summary-method")
            operations = [*few["paths"].values(), *few["webhooks"].values()]
            expect(drawn).to_have_count(sum(map(len, operations)))
        known = SWAGGER if path == "/docs" else set()
        assert [one for one in barriers(page) if one[0] not in known] == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path


def test_from_the_login_to_the_roll_back(
    open_page: Open,
    tasks: dict[str, str],
    site: str,
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
) -> None:
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "operator", [Scope.ADMIN])
    page = open_page("/", allowed=("401",))
    page.get_by_label("API key").fill("sats_wrong_000000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("mistyped")
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    expect(page.get_by_text("operator")).to_be_visible()
    assert key not in page.content()

    begin(engine, tasks["buses"])
    page.get_by_role("link", name="buses").click()
    expect(page.get_by_role("status")).to_have_text("Validating")
    go_on(engine, tasks["buses"], 1)
    expect(page.get_by_role("status")).to_have_text("Training")
    for epoch in (2, 3):
        go_on(engine, tasks["buses"], epoch)
    expect(page.locator("#now")).to_contain_text("3 of 12")
    expect(page.locator("#losses canvas")).to_be_visible()
    legend = page.locator("#losses .legend")
    expect(legend).to_contain_text("epoch 3")
    expect(legend).to_contain_text("cross entropy0.500")
    expect(page.locator("#log")).to_contain_text("epoch 3 of 12")
    number = finish(engine, blobs, tasks["buses"])
    expect(page.get_by_role("heading", name=f"Version {number} is held")).to_be_visible()
    expect(page.locator("tr", has_text="horse")).to_contain_text("fell")
    expect(page.locator("tr", has_text="person")).not_to_contain_text("fell")

    page.get_by_role("link", name=f"Version {number}").click()
    page.get_by_role("button", name="Promote…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("instead of version 5")
    expect(dialog).to_contain_text("because of horse")
    page.get_by_role("button", name="Promote", exact=True).click()
    expect(page.locator(".head .state")).to_have_text("Live")
    page.get_by_role("button", name="Roll back…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Roll back to version 5?")
    expect(page.get_by_role("dialog")).to_contain_text("Version 5 does not know bus")
    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.locator(".head .state")).to_have_text("Held")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(site + VERSIONS)
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_link_of_another_site_leads_to_who_has_logged_in(
    open_page: Open, tasks: dict[str, str], site: str, engine: Engine, settings: Settings
) -> None:
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "operator", [Scope.ADMIN])
    page = open_page("/login")
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    page.goto(f'data:text/html,<a href="{site}/ui/tasks">here</a>')
    page.get_by_role("link", name="here").click()
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()


def test_what_was_moved_meanwhile_is_not_moved_again(
    open_page: Open, tasks: dict[str, str], site: str
) -> None:
    first = open_page(f"{VERSIONS}/versions/3")
    second = open_page(f"{VERSIONS}/versions/4", allowed=("412",))
    first.get_by_role("button", name="Promote…").click()
    expect(first.get_by_role("dialog")).to_contain_text(
        "does not know chair, sofa, which version 5"
    )
    first.get_by_role("button", name="Promote", exact=True).click()
    expect(first.locator(".head .state")).to_have_text("Live")
    second.get_by_role("button", name="Promote…").click()
    second.get_by_role("button", name="Promote", exact=True).click()
    expect(second.get_by_role("dialog").get_by_role("alert")).to_contain_text("version 3")


def test_a_version_that_is_needed_is_not_deleted_and_another_is(
    open_page: Open, tasks: dict[str, str], site: str
) -> None:
    page = open_page(f"{VERSIONS}/versions/4", allowed=("409",))
    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Version 5 was learned from it")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("not deleted")
    page.goto(f"{site}{VERSIONS}/versions/3")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator(".head .state")).to_contain_text("Deleted")
    expect(page.get_by_role("button", name="Promote…")).to_have_count(0)


def test_a_task_is_cancelled_by_keyboard(
    open_page: Open, tasks: dict[str, str], engine: Engine
) -> None:
    page = open_page(f"/ui/tasks/{tasks['buses']}")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    button = page.get_by_role("button", name="Cancel…")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Cancelled")


def test_a_failed_task_says_why_and_is_tried_again(
    open_page: Open, tasks: dict[str, str], engine: Engine, blobs: BlobStore
) -> None:
    begin(engine, tasks["buses"])
    page = open_page(f"/ui/tasks/{tasks['buses']}")
    fail(engine, blobs, tasks["buses"], "the zip has no class list")
    expect(page.get_by_text("the zip has no class list")).to_be_visible()
    page.get_by_role("button", name="Try again…").click()
    expect(page.get_by_role("dialog")).to_contain_text("last checkpoint")
    page.get_by_role("button", name="Try again", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("Queued")


def test_tasks_are_narrowed_down(open_page: Open, tasks: dict[str, str]) -> None:
    page = open_page("/ui/tasks")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(9)
    page.get_by_label("State").select_option("Held")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile("state=held"))
    page.get_by_label("State").select_option("All")
    expect(rows).to_have_count(9)
    page.get_by_label("Name contains").type("YARD")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("bicycles")
    page.get_by_label("Name contains").fill("nothing like it")
    expect(page.get_by_text("No tasks")).to_be_visible()
    expect(page).to_have_url(re.compile("text=nothing"))  # the address follows what is shown
    page.reload()
    expect(page.get_by_label("Name contains")).to_have_value("nothing like it")


def test_a_line_is_switched_off(open_page: Open, tasks: dict[str, str]) -> None:
    page = open_page(VERSIONS)
    button = page.get_by_role("button", name=re.compile("^horse"))
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_contain_text("58.0")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")


_EPOCHS_AT_ONCE = """async count => {
    const figure = document.querySelector("#losses [data-chart]"), Plot = window.uPlot;
    let drawn = 0;
    window.uPlot = class extends Plot { constructor(...words) { super(...words); drawn += 1; } };
    for (let epoch = 1; epoch <= count; epoch += 1) {
        figure.dispatchEvent(new CustomEvent("epoch", {detail: {epoch, losses: {a: 1 / epoch}}}));
    }
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    return [drawn, figure.querySelector(".legend span").textContent];
}"""


def test_epochs_that_come_at_once_are_drawn_at_once(open_page: Open, tasks: dict[str, str]) -> None:
    page = open_page(f"/ui/tasks/{tasks['bicycles from the yard']}")
    expect(page.locator("#losses .plot canvas")).to_be_visible()
    drawn, last = page.evaluate(_EPOCHS_AT_ONCE, 500)
    assert last == "epoch 500"
    assert drawn < 10, "of a task that goes on, as it is told again"


def test_the_reference_works_without_internet(open_page: Open, site: str, document: Any) -> None:
    page = open_page("/login")
    few = one_of_each(document)  # all of it is drawn in the test below
    page.route("**/openapi.json", lambda route: route.fulfill(json=few))
    page.goto(f"{site}/docs")
    expect(page.locator("#operations-tasks-tasks_create")).to_be_visible()
    page.locator("#operations-tasks-tasks_list button").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text(
        "200"
    )


def test_the_reference_is_seen_before_its_script_has_come(open_page: Open, site: str) -> None:
    page = open_page("/login")
    held: list[Route] = []
    let_go: list[bool] = []

    def hold(route: Route) -> None:
        route.continue_() if let_go else held.append(route)

    page.route("**/swagger-ui-bundle.js", hold)
    with page.expect_request("**/swagger-ui-bundle.js"):
        page.goto(f"{site}/docs", wait_until="commit")
    expect(page.get_by_text("The reference is drawn from")).to_be_visible()
    page.wait_for_function("performance.getEntriesByType('paint').length > 0")
    let_go.append(True)  # it may be asked for more than once
    for each in held:
        each.continue_()
    expect(page.locator("#operations-tasks-tasks_create")).to_be_visible()
    expect(page.get_by_text("The reference is drawn from")).to_have_count(0)


def test_what_is_not_there_is_told_on_a_page(
    open_page: Open, tasks: dict[str, str], service: FastAPI
) -> None:
    page = open_page(f"{VERSIONS}/versions/99", allowed=("404",))
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    expect(page.get_by_text("no version 99")).to_be_visible()
