// The lesser job, as a function node: last state of every meter, the overload threshold with its 30 s, the cutoff.
// It knows no tenants, prices, money, locks, restarts or acknowledgements of breakers.
const reading = msg.payload;
let known = flow.get("known");
if (known === undefined) flow.set("known", (known = new Map()));
const device = msg.topic.split("/")[3];
const power = reading.d.power_w;
let state = known.get(device);
if (state === undefined) {
  state = { first: reading.d.import_wh, import_wh: 0, ts: 0, power_w: 0, since: 0, cut: false, readings: 0 };
  known.set(device, state);
}
state.import_wh = reading.d.import_wh;
state.ts = reading.ts;
state.power_w = power;
state.readings += 1;
let cutoff = null;
if (power > 6000) {
  if (state.since === 0) state.since = reading.ts;
  if (!state.cut && reading.ts - state.since >= 30000) {
    state.cut = true;
    const command = { v: 1, cmd: device + "-" + reading.ts, target: "open", issued: reading.ts };
    cutoff = { topic: msg.topic.slice(0, -4) + "cmd", payload: JSON.stringify(command) };
  }
} else {
  state.since = 0;
  state.cut = false;
}
const count = (flow.get("count") || 0) + 1;
flow.set("count", count);
return [cutoff, count % 250 === 0 ? { topic: "bench/known", payload: JSON.stringify({ readings: count }) } : null];
