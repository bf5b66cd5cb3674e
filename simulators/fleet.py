"""From a scenario to devices, wired to gateways, with their faults and what will happen to them."""

from __future__ import annotations

from random import Random
from typing import Any

from schemas.durations import parse_duration
from simulators.devices.breaker import Breaker
from simulators.devices.contactor import Contactor
from simulators.devices.device import Device
from simulators.devices.electricity_meter import ElectricityMeter
from simulators.devices.gateway import Gateway
from simulators.devices.register import RateRegisters
from simulators.devices.water_meter import WaterMeter
from simulators.faults import COMMAND_FAULTS, DEVICE_FAULTS, LINK_FAULTS, DelayRange, Outage, WireFault
from simulators.happenings import FOREVER_MS, Meter, TimedAct, event_acts, fault_acts
from simulators.profiles import UNITS_PER_WH, Load, load_profiles, year_begin_ms
from simulators.scenario import Scenario, ScenarioError, duration_range, ids_of, skew_of, span_of, whole_number
from simulators.station import Station

RATE_TABLE = ((0, "valley"), (480, "flat"), (600, "peak"), (720, "flat"), (1080, "peak"), (1320, "valley"))
"""Daily table of meters that keep registers by rate: minute of the local day and the rate from then on."""

REPEATS_MAX = 10_000
REPEAT_HORIZON_MS = 31 * 86_400_000


class Fleet:
    """Every device of a scenario, by id, and the stations that connect them. Registers open at `begin_ms`."""

    def __init__(self, scenario: Scenario, begin_ms: int | None = None) -> None:
        self.scenario = scenario
        self.begin_ms = scenario.start_ms if begin_ms is None else begin_ms
        self.devices: dict[str, Device] = {}
        self.groups: dict[str, list[str]] = {}
        self._behind: dict[str, list[Device]] = {}
        self._profile_begin_ms = year_begin_ms(self.begin_ms, scenario.zone)
        self._profiles = load_profiles()
        self._rollovers = self._rollover_spans()
        for group in sorted(scenario.groups, key=lambda group: group["kind"] == "breaker"):
            self._add_group(group)
        self.stations = self._build_stations()

    @property
    def meters(self) -> list[Meter]:
        """Electricity and water meters, in the order of the scenario."""
        return [device for device in self.devices.values() if isinstance(device, ElectricityMeter | WaterMeter)]

    def _rng(self, *what: object) -> Random:
        return Random(":".join(str(part) for part in (self.scenario.seed, *what)))

    def _add_group(self, group: dict[str, Any]) -> None:
        name, gateways, ids = group["name"], ids_of(group.get("gateways")), ids_of(group["ids"])
        if name in self.groups:
            raise ScenarioError(f"groups: two groups are called {name}")
        self.groups[name] = ids
        for index, device_id in enumerate(ids):
            if device_id in self.devices:
                raise ScenarioError(f"group {name}: device {device_id} is in another group, too")
            gateway = gateways[index % len(gateways)] if gateways else None
            device = self._make(group, index, device_id, gateway)
            device.model = group.get("model", device.model)
            device.firmware = group.get("firmware", device.firmware)
            self.devices[device_id] = device
            if group["kind"] != "gateway":
                self._behind.setdefault(gateway or f"group {name}", []).append(device)

    def _make(self, group: dict[str, Any], index: int, device_id: str, gateway: str | None) -> Device:
        rng = self._rng("device", device_id)
        if group["kind"] == "gateway":
            return Gateway(device_id, rng, buffer_max=group.get("buffer", 100_000))
        options: dict[str, Any] = {"interval_ms": self._interval_ms(group), "gateway": gateway}
        if "confirm_after" in group:
            options["press_after_ms"] = duration_range(group["confirm_after"], DelayRange(0, 0)).draw(rng)
        contactor = self._contactor(group, rng)
        if group["kind"] == "breaker":
            assert contactor is not None
            return self._make_breaker(group, index, Breaker(device_id, rng, contactor, **options))
        options["contactor"] = contactor
        if group["kind"] == "water_meter":
            return self._make_water_meter(group, index, device_id, rng, options)
        return self._make_electricity_meter(group, index, device_id, rng, options)

    def _make_breaker(self, group: dict[str, Any], index: int, breaker: Breaker) -> Breaker:
        meters = ids_of(group.get("meters"))
        if index < len(meters):
            meter = self.devices.get(meters[index])
            if not isinstance(meter, ElectricityMeter):
                raise ScenarioError(f"group {group['name']}: {meters[index]} is not an electricity meter of this fleet")
            breaker.feed([meter])
        return breaker

    def _make_electricity_meter(
        self, group: dict[str, Any], index: int, device_id: str, rng: Random, options: dict[str, Any]
    ) -> ElectricityMeter:
        load = self._load(group, index, rng, whole_number(group.get("peak_w"), rng, 5_000))
        modulus = group.get("register_digits_wh", 1_000_000_000)
        opening = self._opening(device_id, load, modulus, whole_number(group.get("opening_wh"), rng, 0))
        day_begin_ms = self._profile_begin_ms
        return ElectricityMeter(
            device_id,
            rng,
            load,
            start_ms=self.begin_ms,
            opening_wh=opening,
            modulus_wh=modulus,
            phases=group.get("phases", 1),
            voltage_mv=group.get("voltage_v", 230) * 1000,
            rates=RateRegisters(RATE_TABLE, day_begin_ms, opening) if group.get("rates") else None,
            step_report_w=group.get("step_report_w"),
            **options,
        )

    def _make_water_meter(
        self, group: dict[str, Any], index: int, device_id: str, rng: Random, options: dict[str, Any]
    ) -> WaterMeter:
        load = self._load(group, index, rng, whole_number(group.get("peak_lph"), rng, 500))
        modulus = group.get("register_digits_l", 1_000_000_000)
        opening = self._opening(device_id, load, modulus, whole_number(group.get("opening_l"), rng, 0))
        return WaterMeter(device_id, rng, load, start_ms=self.begin_ms, opening_l=opening, modulus_l=modulus, **options)

    def _load(self, group: dict[str, Any], index: int, rng: Random, peak: int) -> Load:
        names = group.get("profile", "water" if group["kind"] == "water_meter" else "G0-A")
        name = names if isinstance(names, str) else names[index % len(names)]
        if name not in self._profiles:
            known = ", ".join(sorted(self._profiles))
            raise ScenarioError(f"group {group['name']}: no load profile {name!r}; there are {known}")
        shift_ms = duration_range(group.get("shift"), DelayRange(0, 0)).draw(rng)
        pf_milli = whole_number(group["pf_milli"], rng, 1000) if "pf_milli" in group else None
        return Load(self._profiles[name], peak, self._profile_begin_ms, shift_ms, pf_milli)

    def _contactor(self, group: dict[str, Any], rng: Random) -> Contactor | None:
        if not (group["kind"] == "breaker" or group.get("relay") or group.get("valve")):
            return None
        travel_ms = duration_range(group.get("travel"), DelayRange(200, 200)).draw(rng)
        valve = group["kind"] == "water_meter"
        contactor = Contactor("open" if valve else "closed", travel_ms, limits=bool(group.get("valve_limit")))
        contactor.position = group.get("position", contactor.flowing)
        return contactor

    def _opening(self, device_id: str, load: Load, modulus: int, opening: int) -> int:
        """The opening register; a rollover fault sets it so that the register stands `margin` before its wrap then."""
        found = self._rollovers.get(device_id)
        if found is None:
            return opening % modulus
        at_ms, margin = found
        counted = load.units_between(self.begin_ms, at_ms) // UNITS_PER_WH
        return (modulus - margin - counted) % modulus

    def _interval_ms(self, group: dict[str, Any]) -> int:
        return parse_duration(group["interval"]) if "interval" in group else self.scenario.interval_ms

    def _rollover_spans(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for group in self.scenario.groups:
            self.groups[group["name"]] = ids_of(group["ids"])
        for index, fault in enumerate(self.scenario.faults):
            if fault["fault"] == "rollover":
                at_ms = span_of(fault, self.begin_ms).from_ms
                found |= dict.fromkeys(self._concerned(fault, ("fault", index)), (at_ms, fault.get("margin", 100)))
        self.groups.clear()
        return found

    def _concerned(self, spec: dict[str, Any], what: tuple[object, ...]) -> list[str]:
        """Ids that a fault or event points to: listed, of a group, or a share drawn by seed."""
        listed = ids_of(spec.get("devices"))
        if "group" in spec:
            if spec["group"] not in self.groups:
                raise ScenarioError(f"{what[0]} {what[1]}: there is no group {spec['group']!r}")
            listed += self.groups[spec["group"]]
        if "share" not in spec:
            return listed
        among = listed or [device for ids in self.groups.values() for device in ids]
        count = max(1, round(float(spec["share"]) * len(among))) if float(spec["share"]) else 0
        return self._rng("share", *what).sample(among, count)

    def _build_stations(self) -> list[Station]:
        wire, down, outages, acts = self._faults()
        acts += self._events()
        known = {*self._behind, *(key for key, device in self.devices.items() if isinstance(device, Gateway))}
        stations = []
        for key in sorted(known):
            gateway = self.devices.get(key)
            if gateway is not None and not isinstance(gateway, Gateway):
                raise ScenarioError(f"{key} is given as a gateway, but it is a {gateway.kind}")
            if gateway is None and not key.startswith("group "):
                raise ScenarioError(f"gateway {key} is not among the devices of this fleet")
            behind = self._behind.get(key, [])
            mine = {device.id for device in behind} | ({gateway.id} if gateway else set())
            stations.append(
                Station(
                    site=self.scenario.site,
                    gateway=gateway,
                    devices=behind,
                    rng=self._rng("station", key),
                    wire_faults={device: wire[device] for device in mine if device in wire},
                    command_faults={device: down[device] for device in mine if device in down},
                    outages={device: outages[device] for device in mine if device in outages},
                    acts=[act for act in acts if act.device in mine],
                    jitter=self._jitters(behind),
                )
            )
        return stations

    def _jitters(self, devices: list[Device]) -> dict[str, int]:
        spans: dict[str, int] = {}
        for group in self.scenario.groups:
            for device_id in self.groups[group["name"]]:
                spans[device_id] = parse_duration(group["jitter"]) if "jitter" in group else -1
        return {
            device.id: spans[device.id] if spans[device.id] >= 0 else device.interval_ms // 10 for device in devices
        }

    def _faults(
        self,
    ) -> tuple[dict[str, list[WireFault]], dict[str, list[WireFault]], dict[str, list[Outage]], list[TimedAct]]:
        """By device: faults on its way up, on its way down, its outages; and what befalls devices themselves."""
        wire: dict[str, list[WireFault]] = {}
        down: dict[str, list[WireFault]] = {}
        outages: dict[str, list[Outage]] = {}
        acts: list[TimedAct] = []
        for index, fault in enumerate(self.scenario.faults):
            for device_id in self._concerned(fault, ("fault", index)):
                device = self.devices.get(device_id)
                if device is None:
                    raise ScenarioError(f"faults[{index}]: device {device_id} is not in any group")
                rng = self._rng("fault", index, device_id)
                if fault["fault"] in LINK_FAULTS:
                    outages.setdefault(device_id, []).append(self._outage(fault, rng))
                elif fault["fault"] in DEVICE_FAULTS:
                    skew_ms = skew_of(fault.get("skew", "0s"))
                    acts += fault_acts(device, fault, span_of(fault, self.begin_ms), skew_ms)
                else:
                    way = down if fault["fault"] in COMMAND_FAULTS else wire
                    way.setdefault(device_id, []).append(self._wire_fault(fault, rng))
        return wire, down, outages, acts

    def _wire_fault(self, fault: dict[str, Any], rng: Random) -> WireFault:
        return WireFault(
            name=fault["fault"],
            rng=rng,
            span=span_of(fault, self.begin_ms),
            probability=float(fault.get("probability", "1")),
            delay=duration_range(fault.get("delay"), DelayRange(1_000, 60_000)),
            copies=fault.get("copies", 1),
            add=fault.get("add", 0),
        )

    def _outage(self, fault: dict[str, Any], rng: Random) -> Outage:
        flaps = fault["fault"] == "flapping"
        return Outage(
            span_of(fault, self.begin_ms),
            rng,
            up=duration_range(fault["up"], DelayRange(0, 0)) if flaps else None,
            down=duration_range(fault["down"], DelayRange(0, 0)) if flaps else None,
        )

    def _events(self) -> list[TimedAct]:
        acts: list[TimedAct] = []
        for index, event in enumerate(self.scenario.events):
            lasts_ms = parse_duration(event["for"]) if "for" in event else None
            for device_id in self._concerned(event, ("event", index)):
                device = self.devices.get(device_id)
                if device is None:
                    raise ScenarioError(f"events[{index}]: device {device_id} is not in any group")
                for at_ms in self._occurrences(event):
                    acts += event_acts(device, event, at_ms, lasts_ms, self._rng("event", index, device_id, at_ms))
        return acts

    def _occurrences(self, event: dict[str, Any]) -> list[int]:
        at_ms = self.begin_ms + parse_duration(event["at"])
        if "repeat" not in event:
            return [at_ms]
        every_ms = max(1, parse_duration(event["repeat"]))
        return list(range(at_ms, min(FOREVER_MS, at_ms + REPEAT_HORIZON_MS), every_ms))[:REPEATS_MAX]
