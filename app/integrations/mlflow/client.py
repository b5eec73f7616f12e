"""MLflow's tracking server and model registry, by its own client. Nothing else imports that."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog

from app.integrations.mlflow.describing import TASK_TAG, Description
from app.integrations.mlflow.packing import MODEL

ALIAS = "live"
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A mirror has patience of its own, and what is asked twice may be made twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_OF_ONE_VERSION = (400, 404, 409, 413, 422)
"""What MLflow refuses by: the next version may be taken all the same."""
_PAGE = 1000
_MOST_PAGES = 100
_LONGEST_MESSAGE = 500
_MOST_PARAMS = 100
"""Of one request; a step has a third of it."""

log = structlog.get_logger(__name__)


class MissingClientError(Exception):
    """The setting is there and the package is not."""


class MlflowError(Exception):
    """MLflow does not answer, or refuses.

    Attributes:
        of_one_version: whether others may be taken.
    """

    def __init__(self, message: str, *, of_one_version: bool = False) -> None:
        super().__init__(message)
        self.of_one_version = of_one_version

    def __reduce__(self) -> tuple[Any, ...]:
        """Go from process to process whole."""
        return partial(MlflowError, str(self), of_one_version=self.of_one_version), ()


@dataclass(frozen=True)
class Registered:
    """A registered model, or a version of one.

    Attributes:
        name: the model's.
        number: the version's, by MLflow's own count; of a model empty.
        tags: as they are there.
        live: of a model the number that its alias names; empty: it has none.
    """

    name: str
    number: str
    tags: Mapping[str, str]
    live: str = ""


def check_installed() -> None:
    """Check that MLflow's client is there; nothing is imported.

    Raises:
        MissingClientError: it is not.
    """
    if find_spec("mlflow") is None:
        raise MissingClientError(
            "SATS_MLFLOW_TRACKING_URI is set, and MLflow's client is not installed: "
            "pip install -e '.[mlflow]'"
        )


class Mlflow:
    """A server; every call raises MlflowError, and nothing else of what the client raises.

    Args:
        uri: where it is.
    """

    def __init__(self, uri: str) -> None:
        check_installed()
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._refused: Any = ()
        self._away: Any = ()
        with self._told():
            import mlflow
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
            from requests import RequestException

            self._refused, self._away = MlflowException, RequestException
            self._release: str = mlflow.__version__
            self._client: Any = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._metric, self._param = Metric, Param

    def release(self) -> str:
        """Return which release of the client it is."""
        return self._release

    def models(self, prefix: str) -> dict[str, Registered]:
        """Return the registered models whose names begin so, by name; one request a thousand."""
        # `_` is any character to LIKE, so that more may come.
        only = f"name LIKE '{prefix}%'" if prefix else None
        with self._told():
            found = _all(self._client.search_registered_models, filter_string=only)
        return {
            one.name: Registered(one.name, "", one.tags, str(one.aliases.get(ALIAS, "")))
            for one in found
        }

    def make_model(self, name: str, tags: Mapping[str, str]) -> None:
        """Make a registered model."""
        with self._told():
            self._client.create_registered_model(name, dict(tags))

    def tag_model(self, name: str, key: str, value: str) -> None:
        """Set a tag of a registered model."""
        with self._told():
            self._client.set_registered_model_tag(name, key, value)

    def versions(self, name: str) -> list[Registered]:
        """Return the versions of a registered model, the oldest first."""
        with self._told():
            found = _all(self._client.search_model_versions, filter_string=f"name = '{name}'")
            found.sort(key=lambda one: int(one.version))
        return [Registered(one.name, str(one.version), one.tags) for one in found]

    def run(self, name: str, told: Description) -> tuple[str, bool]:
        """Return the id of a version's run and whether it is whole; make one if none will do."""
        with self._told():
            experiment = self._client.get_experiment_by_name(name)
            number = experiment and experiment.experiment_id
            if number is None:
                number = self._client.create_experiment(name)
            only = f"tags.`{TASK_TAG}` = '{told.tags[TASK_TAG]}'"
            runs = self._client.search_runs([number], only)
            whole = [run for run in runs if run.info.status == "FINISHED"]
            # A parameter never changes: what an earlier release began to write may be no beginning.
            usable = whole or [run for run in runs if _begins(run.data.params, told.params)]
            if usable:
                return str(usable[0].info.run_id), bool(whole)
            tags = dict(told.tags)
            made = self._client.create_run(number, told.at, tags, run_name=told.name)
            return str(made.info.run_id), False

    def write(self, run: str, told: Description, model: Path) -> None:
        """Write what a run is to hold; what it holds already may be there.

        Args:
            run: its id.
            told: parameters and metrics.
            model: a model directory.
        """
        params = [self._param(key, value) for key, value in told.params.items()][:_MOST_PARAMS]
        metrics = [self._metric(key, value, told.at, 0) for key, value in told.metrics.items()]
        with self._told():
            self._client.log_batch(run, metrics=metrics, params=params)
            self._client.log_artifacts(run, str(model), MODEL)
            self._client.set_terminated(run, "FINISHED")

    def register(self, name: str, run: str, told: Description) -> Registered:
        """Register a run's model as the next version, its tags in the same request."""
        with self._told():
            where = self._client.get_run(run).info.artifact_uri
            made = self._client.create_model_version(
                name, f"{where}/{MODEL}", run, dict(told.tags), None, told.text, 0
            )
        return Registered(name, str(made.version), told.tags)

    def tag_version(self, version: Registered, key: str, value: str) -> None:
        """Set a tag of a version."""
        with self._told():
            self._client.set_model_version_tag(version.name, version.number, key, value)

    def point_live(self, name: str, number: str) -> None:
        """Move the alias."""
        with self._told():
            self._client.set_registered_model_alias(name, ALIAS, number)

    def remove_live(self, name: str) -> None:
        """Remove the alias."""
        with self._told():
            self._client.delete_registered_model_alias(name, ALIAS)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._refused as error:
            own = error.get_http_status_code() in _OF_ONE_VERSION
            raise MlflowError(_short(error), of_one_version=own) from error
        except self._away as error:
            answer = getattr(error, "response", None)
            own = answer is not None and answer.status_code in _OF_ONE_VERSION
            raise MlflowError(_short(error), of_one_version=own) from error
        except MemoryError as error:
            raise MlflowError("MLflow answered more than there is memory for") from error
        except Exception as error:
            # Of the artifact store, whose own client this may lack; another model's may be another.
            log.exception("mlflow_client_failed")
            what = f"{type(error).__name__}: {_short(error)}"
            raise MlflowError(what, of_one_version=True) from error


def _short(error: Exception) -> str:
    """Return what a client says, which may be a whole page of what is no MLflow."""
    return str(error)[:_LONGEST_MESSAGE]


def _begins(written: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether the parameters that a run has are to be there."""
    return all(wanted.get(key) == value for key, value in written.items())


def _all(search: Callable[..., Any], **wanted: Any) -> list[Any]:
    """Return what is on all pages."""
    found: list[Any] = []
    token = None
    for _ in range(_MOST_PAGES):
        page = search(**wanted, max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
    raise ValueError(f"a list has more than {_MOST_PAGES} pages")
