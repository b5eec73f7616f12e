"""`/admin`: models, versions, where `live` points."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import FileResponse

from app.admin import service
from app.admin.confusion import ConfusionJson, describe_confusion
from app.admin.downloads import IfNoneMatch, Range, RangeProblem, file_response, is_known
from app.admin.schemas import (
    CurvesJson,
    GateInForceJson,
    ModelPage,
    VersionJson,
    VersionPage,
)
from app.db import read_session
from app.errors import (
    BadRequestProblem,
    InvalidProblem,
    NotFoundProblem,
    UnavailableProblem,
)
from app.http.answers import json_answer
from app.http.dependencies import (
    AppServices,
    Operator,
    ReadSession,
    WriteSession,
    require_to_change,
)
from app.http.parameters import Age, Cursor
from app.http.problems import Responses, responses
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Scope, check_model
from app.records.paging import NEWEST, Listing
from app.registry.files import DamagedVersionProblem, version_entry, version_file
from app.registry.floor import ModelGate
from app.registry.paths import ModelName, Number
from app.registry.schemas import MODEL_PATTERN
from app.registry.service import get_version, list_versions, standing_version
from sats_core.evaluation.forgetting import ForgettingReport
from sats_core.limits import MAX_INT32

BY_NAME: Final = "name"
MODELS = Listing("models", str)
VERSIONS = Listing("versions", int)
POINTS, MOST_POINTS = 200, 1000
"""Versions of a model in one answer for charts: where nobody says how many, and at most."""

router = APIRouter(
    prefix="/admin",
    tags=["admin"],
    dependencies=[Depends(require_to_change(Scope.ADMIN))],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)

_CONTENT: dict[str, dict[str, Any]] = {  # as the file's name says; a graph or weights are octets
    kind: {"schema": {"type": "string", "format": "binary", "description": "The file."}}
    for kind in ("application/octet-stream", "text/markdown")
}
_CONTENT["text/markdown"]["example"] = (
    "# Semantic segmentation, 5 classes\n\n- backbone: mit_b0, first weights: checkpoint\n"
)
_JSON = {
    "schema": {"type": "object", "description": "The file."},
    "example": {"model_type": "segformer", "num_labels": 5},
}
_PART = {"schema": _CONTENT["text/markdown"]["schema"], "example": '{"model_type": "segf'}
_ETAG = {"ETag": {"description": "SHA-256 of the file.", "schema": {"type": "string"}}}
_RANGES = {"Accept-Ranges": {"description": "`bytes`.", "schema": {"type": "string"}}}
_RANGE = {"Content-Range": {"description": "Bytes, of how many.", "schema": {"type": "string"}}}
_FILE: Responses = {
    200: {
        "description": "The file; `ETag` is its SHA-256.",
        "headers": _ETAG | _RANGES,
        "content": _CONTENT | {"application/json": _JSON},
    },
    206: {
        "description": "The part of the file that `Range` names.",
        "headers": _ETAG | _RANGES | _RANGE,
        "content": _CONTENT | {"application/json": _PART},
    },
    304: {
        "description": "The caller has the file: `If-None-Match` names its `ETag`.",
        "headers": _ETAG,
    },
    **responses(NotFoundProblem, DamagedVersionProblem, RangeProblem),
}
_FILE[416]["headers"] = {
    "Content-Range": {"description": "`bytes */`, how many.", "schema": {"type": "string"}}
}


@router.get("/models", summary="List models", operation_id="models_list")
def list_models(
    session: ReadSession,
    caller: Operator,
    sort: Annotated[
        Literal["name", "-name"], Query(description="By name; `-name`: the last one first.")
    ] = BY_NAME,
    limit: Annotated[int, Query(ge=1, le=200, description="Most models of a page.")] = 50,
    cursor: Cursor = None,
) -> ModelPage:
    """Return models that the key may use with their live version."""
    listing = MODELS.by(sort, BY_NAME)
    found = service.list_models(session, listing.read(cursor), sort)
    reached = [one for one in found if caller.reaches(one.name)]
    page, following = listing.cut(reached, limit, lambda model: model.name)
    return ModelPage(items=service.describe_models(session, page), next_cursor=following)


@router.get(
    "/models/{model}/gate",
    summary="Look at a model's gate",
    operation_id="gates_get",
    responses=responses(NotFoundProblem),
)
def show_gate(services: AppServices, session: ReadSession, model: ModelName) -> GateInForceJson:
    """Return what a model's versions must reach to go live, and what of it is the model's own."""
    return service.describe_gate(service.get_model(session, model), services.settings)


@router.put(
    "/models/{model}/gate",
    summary="Set a model's gate",
    operation_id="gates_set",
    responses=responses(BadRequestProblem, NotFoundProblem),
)
def set_gate(
    services: AppServices, session: WriteSession, model: ModelName, gate: ModelGate
) -> GateInForceJson:
    """Set the floor of a model's gate; what is left out is as the service's settings say.

    It holds for every version that is registered from now on. Tasks may be stricter; only those of
    keys with scope `admin` may be laxer. A model is made by a task or an import, not here.
    """
    found = service.get_model(session, model)
    service.set_gate(session, found, gate)
    return service.describe_gate(found, services.settings)


@router.get(
    "/models/{model}/versions",
    summary="List versions",
    operation_id="versions_list",
    response_model=VersionPage,
    responses=responses(NotFoundProblem),
)
def list_model_versions(
    session: ReadSession,
    model: ModelName,
    sort: Age = NEWEST,
    limit: Annotated[int, Query(ge=1, le=100, description="Most versions of a page.")] = 50,
    cursor: Cursor = None,
) -> Response:
    """Return the versions of a model; a deleted one says when it went."""
    found = service.get_model(session, model)
    listing = VERSIONS.by(sort)
    versions = list_versions(session, found.id, limit + 1, listing.read(cursor), sort)
    page, following = listing.cut(versions, limit, lambda version: version.number)
    items = service.describe_versions(session, found, page)
    return json_answer(VersionPage(items=items, next_cursor=following))


@router.get(
    "/models/{model}/versions/{number}",
    summary="Look at a version",
    operation_id="versions_get",
    responses=responses(NotFoundProblem),
)
def show_version(session: ReadSession, model: ModelName, number: Number) -> VersionJson:
    """Return a version: lineage, classes, scores, what the gate said, files."""
    found = service.get_model(session, model)
    version = get_version(session, found.id, number)
    return service.describe_versions(session, found, [version])[0]


@router.head(
    "/models/{model}/versions/{number}/files/{name}",
    summary="Look at a version's file without its bytes",
    operation_id="versions_file_head",
    response_class=Response,
    responses=_FILE,
)
@router.get(
    "/models/{model}/versions/{number}/files/{name}",
    summary="Download a version's file",
    operation_id="versions_download",
    response_class=FileResponse,
    responses=_FILE,
)
def download(
    services: AppServices,
    model: ModelName,
    number: Number,
    name: Annotated[str, Path(description="The file's name.", examples=["model.onnx"])],
    asked: Range = None,
    known: IfNoneMatch = None,
) -> Response:
    """Download weights, ONNX graph, configuration, scores or model card of a version.

    Its bytes are checked before the first of them is sent: a damaged file is no file. `HEAD` tells
    its size and `ETag`.
    """
    with read_session(services.engine) as session:
        version = standing_version(session, service.get_model(session, model).id, number)
    etag = f'"{version_entry(version, name)["blob"]}"'
    if known is not None and is_known(etag, known):
        return Response(status_code=304, headers={"ETag": etag})
    # Gigabytes are read below: no connection is held meanwhile.
    path = version_file(services.blobs, version, name)
    return file_response(path, f"{model}-{number}-{name}", etag, asked)


@router.get(
    "/models/{model}/versions/{number}/forgetting",
    summary="Why a version forgot",
    operation_id="versions_forgetting",
    responses=responses(NotFoundProblem),
)
def why_forgotten(session: ReadSession, model: ModelName, number: Number) -> ForgettingReport:
    """Return the causes of forgetting, each figure with a reading in plain words.

    After Kalb and Beyerer, Causes of Catastrophic Forgetting in Class-Incremental Semantic
    Segmentation (ACCV 2022).
    """
    found = service.get_model(session, model)
    return service.forgetting_report(get_version(session, found.id, number))


@router.get(
    "/models/{model}/versions/{number}/confusion",
    summary="What a version takes classes for",
    operation_id="versions_confusion",
    responses=responses(NotFoundProblem),
)
def show_confusion(
    session: ReadSession,
    model: ModelName,
    number: Number,
    limit: Annotated[int, Query(ge=1, le=500, description="Most pairs of `largest`.")] = 20,
) -> ConfusionJson:
    """Return the confusion matrix of the held-out pictures, the largest confusions first.

    Beside it that of the version before, on the same pictures. 404 where the version was scored on
    no picture, or made before matrices were kept.
    """
    found = service.get_model(session, model)
    version = get_version(session, found.id, number)
    parent = version.parent.number if version.parent else None
    return describe_confusion(version, parent, limit)


@router.get(
    "/metrics",
    summary="IoU over versions",
    operation_id="metrics_get",
    response_model=CurvesJson,
    responses=responses(NotFoundProblem),
)
def show_curves(
    session: ReadSession,
    caller: Operator,
    model: Annotated[
        str | None, Query(pattern=MODEL_PATTERN, description="Only this model.")
    ] = None,
    newest: Annotated[
        int,
        Query(
            ge=1,
            le=MAX_INT32,
            description="So many of each model's versions, the newest; "
            f"{MOST_POINTS:,} at most, whatever is asked for.",
        ),
    ] = POINTS,
    before: Annotated[
        int | None,
        Query(
            ge=1,
            le=MAX_INT32,
            description="Only versions with lower numbers: `next_before` of the answer before.",
        ),
    ] = None,
) -> Response:
    """Return IoU over versions, for charts: of each class, and the means of old, new and all.

    Where a model has more versions than are answered, its `next_before` leads to those before.
    """
    if model is None:
        found = [one for one in service.list_models(session) if caller.reaches(one.name)]
    else:
        check_model(caller, model)
        found = [service.get_model(session, model)]
    count = min(newest, MOST_POINTS)
    return json_answer(CurvesJson(models=service.describe_curves(session, found, count, before)))
