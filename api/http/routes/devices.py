"""Devices: their twins, and the commands they were given."""

from __future__ import annotations

from litestar import Response, get

from api.http.backend import Platform, group_of_device
from api.http.bodies import CommandPage, CommandRow, DeviceBody, DevicePage, DeviceRow
from api.http.etags import etag_of, matches
from api.http.identity import Person
from api.http.paging import DEFAULT_LIMIT, Cursor, Limit, page_of
from api.http.params import Device, IfNoneMatch, Site
from api.http.problems import unknown_device
from api.http.routes.tenants import must_exist
from api.http.specs import ETAG, not_modified, refusals
from api.http.twin_views import device_view, without_names
from twin.core.breaker_why import told_tenants
from twin.core.model import Group
from twin.core.valves import wire_target


@get("/sites/{site:str}/devices", operation_id="listDevices", summary="Devices", responses=refusals(404, 422))
async def list_devices(
    backend: Platform, site: Site, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> DevicePage:
    """Meters, breakers and gateways in the order of their ids."""
    await must_exist(backend, site)
    page = await page_of(backend.queries.devices(site, cursor=cursor, limit=limit))
    items = [DeviceRow(id=row.id, kind=row.kind, gateway=row.gateway, tenant=row.tenant) for row in page.items]
    return DevicePage(items, page.next)


@get(
    "/sites/{site:str}/devices/{device:str}",
    operation_id="getDevice",
    summary="One device",
    responses={**refusals(404), **not_modified()},
    response_headers=[ETAG],
)
async def get_device(
    backend: Platform, person: Person, site: Site, device: Device, if_none_match: IfNoneMatch = None
) -> Response[DeviceBody | None]:
    """The twin: what is reported, what is wanted, what was commanded, and the register as far as it is charged. Tenants
    read it without the names of staff."""
    group = await visible_group(backend, person, site, device)
    view = device_view(group, device)
    if view is None:
        raise unknown_device(site, device)
    etag = etag_of(view.revision)
    if if_none_match is not None and matches(if_none_match, etag, weak=True):
        return Response(None, status_code=304, headers={"ETag": etag})
    return Response(without_names(view) if person.is_tenant else view, headers={"ETag": etag})


@get(
    "/sites/{site:str}/devices/{device:str}/commands",
    operation_id="listCommands",
    summary="Commands of a device",
    responses=refusals(404, 422),
)
async def list_commands(
    backend: Platform,
    person: Person,
    site: Site,
    device: Device,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> CommandPage:
    """Every command with the state it has reached, newest first. A tenant reads of the own ones, without the names of
    staff."""
    await visible_group(backend, person, site, device)
    own = person.tenant if person.is_tenant else None
    page = await page_of(backend.queries.commands(site, device, tenant=own, cursor=cursor, limit=limit))
    items = [
        CommandRow(
            id=row.cmd,
            op=row.op,
            target=wire_target(row.op, row.target),
            state=row.state,
            fence=row.fence,
            ts=row.ts,
            issued=row.issued,
            expires=row.exp,
            reason=row.reason,
            why=row.why if own is None else told_tenants(row.why),
        )
        for row in page.items
    ]
    return CommandPage(items, page.next)


async def visible_group(backend: Platform, person: Person, site: str, device: str) -> Group:
    """The group of a device. A tenant's token sees the devices of its own group; all others do not exist for it."""
    group = await group_of_device(backend, site, device)
    if group is None or (person.is_tenant and group.id != person.tenant):
        raise unknown_device(site, device)
    return group
