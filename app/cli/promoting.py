"""Versions of a running service: `sats versions`, `show`, `promote`, `rollback`."""

from typing import Annotated, Any

import typer

from app.cli.calling import Exit, Url, model_and_number, service
from app.cli.completing import complete_model, complete_version
from app.cli.printing import Form, Output, print_all, print_one
from app.cli.refusing import refusal

ModelName = Annotated[str, typer.Argument(help="The model.", autocompletion=complete_model)]
Named = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@N]",
        help="The model, and its version if not the live one.",
        autocompletion=complete_version,
    ),
]


def versions(
    model: ModelName = "default",
    url: Url = None,
    output: Output = Form.TABLE,
) -> None:
    """List a model's versions, the newest first."""
    with service(url) as client:
        print_all(client.versions(model), output, _row, _id)


def show(named: Named, url: Url = None, output: Output = Form.TABLE) -> None:
    """Show a version: its classes, how well it does, what the gate said."""
    model, number = model_and_number(named)
    with service(url) as client:
        found = client.version(model, number or client.live(model).version)
        print_one(found, output, _all, _id)


def curve(
    model: ModelName = "default",
    url: Url = None,
    output: Output = Form.TABLE,
) -> None:
    """List how well each of a model's versions does, the newest first; in JSON by class too."""
    with service(url) as client:
        print_all(client.curve(model), output, _point_row, lambda one: f"{model}@{one.version}")


def promote(
    named: Annotated[
        str,
        typer.Argument(
            metavar="MODEL@N",
            help="The model and its version.",
            autocompletion=complete_version,
        ),
    ],
    if_live: Annotated[
        int | None, typer.Option(help="Only while this version is live.", min=1)
    ] = None,
    url: Url = None,
    output: Output = Form.TABLE,
) -> None:
    """Make a version live, whatever the gate said of it."""
    model, number = model_and_number(named)
    if number is None:
        raise refusal(f"{named}: name the version, as in {model}@2")
    with service(url) as client:
        seen = None if if_live is None else client.live(model)
        if seen is not None and seen.version != if_live:
            raise refusal(f"version {seen.version} is live, not {if_live}", Exit.REFUSED)
        _moved(model, client.promote(model, number, seen=seen), output)


def rollback(named: Named, url: Url = None, output: Output = Form.TABLE) -> None:
    """Make live what was live before."""
    model, number = model_and_number(named)
    with service(url) as client:
        _moved(model, client.rollback(model, number), output)


def _moved(model: str, move: Any, output: Form) -> None:
    def row(move: Any) -> dict[str, object]:
        return {"model": model, "live": move.version, "by": move.kind, "at": move.moved_at}

    print_one(move, output, row, lambda move: f"{model}@{move.version}")


def _row(version: Any) -> dict[str, object]:
    return {
        "version": _id(version),
        "live": version.live,
        "parent": version.parent,
        "new classes": version.new_classes,
        "mIoU": version.scores.miou_all,
        "made": version.created_at,
    }


def _point_row(point: Any) -> dict[str, object]:
    return {
        "version": point.version,
        "live": point.live,
        "classes": point.classes,
        "mIoU": point.miou_all,
        "old": point.miou_old,
        "new": point.miou_new,
        "forgetting": point.mean_forgetting,
        "made": point.created_at,
    }


def _all(version: Any) -> dict[str, object]:
    iou = version.scores.iou
    shown = {f"IoU {one.name}": iou.get(one.name) for one in version.classes}
    taken = _taken(version.retirement) if version.retirement else {}
    return {
        **_row(version),
        "method": version.method,
        "gate": _gate(version.gate),
        **taken,
        **shown,
    }


def _gate(gate: Any) -> str | None:
    """Return what the gate said; one that passed may have left something unmeasured."""
    if gate is None:
        return None
    reasons = "; ".join(gate.reasons)
    return reasons if not gate.passed else f"passed; {reasons}" if reasons else "passed"


def _taken(retirement: Any) -> dict[str, object]:
    """Return what was taken away and what was measured of it; what was not measured is empty."""
    proof, again, member = _measured(retirement)
    said = {"retired": retirement.retired, "depth": retirement.depth}
    if retirement.erasure is not None:
        said["pictures' deletion"] = _deletion(retirement)
    return {
        **said,
        "seen of it in training": proof.pictures,
        "mIoU of what stays": _change(proof.miou_before, proof.miou_after),
        "its pixels now background": proof.to_background,
        "found again, mIoU": again and _change(again.before, again.after),
        "found again by one that never saw it": again and again.unaware,
        "gap closed": again and again.gap_closed,
        "trained-on pictures told apart, AUC": member and _change(member.before, member.after),
        "": "measured on the pictures at hand; no guarantee",
    }


def _deletion(retirement: Any) -> str:
    state = str(retirement.erasure)
    if not retirement.waits_for:
        return state
    begun = "" if state == "waits" else ", waits"
    return f"{state}{begun} for {retirement.waits_for}"


def _measured(retirement: Any) -> tuple[Any, Any, Any]:
    proof = retirement.proof
    return proof, proof.piggyback, proof.membership


def _change(before: float | None, after: float | None) -> str | None:
    return None if before is None or after is None else f"{before:.3f} before, {after:.3f} now"


def _id(version: Any) -> str:
    return f"{version.model}@{version.number}"
