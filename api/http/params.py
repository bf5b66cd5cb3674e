"""Parameters that several routes take."""

from __future__ import annotations

from typing import Annotated

from litestar.params import Parameter

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

Site = Annotated[str, Parameter(pattern=ID_PATTERN, description="Id of the site.")]
Tenant = Annotated[str, Parameter(pattern=ID_PATTERN, description="Id of the tenant.")]
Device = Annotated[str, Parameter(pattern=ID_PATTERN, description="Id of the device.")]
IdempotencyKey = Annotated[
    str,
    Parameter(
        header="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Chosen by the caller, one for each act: the same key with the same body does it once.",
    ),
]
IfMatch = Annotated[
    str | None, Parameter(header="If-Match", max_length=200, description="ETag the twin must still have.")
]
IfNoneMatch = Annotated[
    str | None, Parameter(header="If-None-Match", max_length=200, description="ETag the caller knows already.")
]
