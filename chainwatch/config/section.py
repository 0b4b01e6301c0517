"""What every table of the configuration is made of: a model that refuses unknown keys, and the kinds of values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from chainwatch.config import values

Duration = Annotated[float, BeforeValidator(values.duration)]
Size = Annotated[int, BeforeValidator(values.size)]
Address = Annotated[str, BeforeValidator(values.address)]
Endpoint = Annotated[str, BeforeValidator(values.endpoint)]
ChainName = Annotated[str, BeforeValidator(values.chain_name)]
Label = Annotated[str, BeforeValidator(values.label)]
Which = Literal["watched", "all", "none"]


class Section(BaseModel):
    """A table of the configuration. Unknown keys are errors; messages never repeat what was given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
