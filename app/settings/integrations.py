"""Settings of the contracts of other tools, read like all the others."""

from pydantic import Field, SecretStr

from app.settings.base import SettingsBase

ORIGIN = r"https?://[^\s/,*@]+"
"""A scheme, a host and no path, as browsers spell an origin. No name and password before the host:
addresses are named in errors and logs."""


class IntegrationSettings(SettingsBase):
    """Settings of what lies in `app/integrations`."""

    label_studio_url: str | None = Field(
        None,
        pattern=rf"^{ORIGIN}(/[^\s?#]*)?$",
        description="The Label Studio that is served and learned from, as "
        "`https://labels.example.org`; a path is part of it. Default: none, and "
        "`/integrations/label-studio` says so.",
    )
    label_studio_api_key: SecretStr | None = Field(
        None,
        description="Its access token: a personal one, or a legacy one. It goes to "
        "SATS_LABEL_STUDIO_URL and nowhere else.",
    )
    label_studio_picture_origins: str | None = Field(
        None,
        pattern=rf"^{ORIGIN}(,\s*{ORIGIN})*$",
        description="Other origins that its pictures may be fetched from, without the token, "
        "separated by commas: where links lead that it signs for cloud storage, as "
        "`https://my-bucket.s3.amazonaws.com`. Default: none.",
    )
    label_studio_annotations: int = Field(
        0,
        ge=0,
        description="New annotations of a project after which a task is made of it by itself, as "
        "its webhook counts them; 0: only where somebody asks for training.",
    )

    label_studio_waiting: int = Field(
        20,
        ge=1,
        description="Most imports that wait for one key; the next is refused, as where too many of "
        "its tasks wait.",
    )

    mlflow_tracking_uri: str | None = Field(
        None,
        pattern=rf"^{ORIGIN}(/[^\s?#]*)?$",
        description="The MLflow server that every version is mirrored to, as "
        "`https://mlflow.example.org`; needs `pip install -e '.[mlflow]'`. Who the worker is to it "
        "say MLflow's own variables (`MLFLOW_TRACKING_USERNAME`, ...). Default: none.",
    )
    mlflow_prefix: str = Field(
        "sats-",
        pattern=r"^[A-Za-z0-9._-]{0,50}$",
        description="What stands before a model's name in MLflow, so that several services can "
        "share one.",
    )

    @property
    def label_studio_origins(self) -> tuple[str, ...]:
        """The origins of `label_studio_picture_origins`, one by one."""
        said = self.label_studio_picture_origins or ""
        return tuple(origin.strip() for origin in said.split(",") if origin.strip())
