"""How settings are read, whatever they are of."""

from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


class SettingsBase(BaseSettings):
    """Settings from the environment; a kind of them is a subclass, and `app.settings` joins all."""

    model_config = SettingsConfigDict(
        env_prefix="SATS_",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # secrets, or what was meant as one
        env_parse_none_str="never",
    )
