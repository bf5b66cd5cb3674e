// What this flow knows at this moment, for the measurement: readings, meters, and energy between first and last reading.
const known = flow.get("known") || new Map();
let energy = 0;
for (const state of known.values()) energy += state.import_wh - state.first;
const answer = { ask: msg.payload.ask, readings: flow.get("count") || 0, meters: known.size, energy_wh: energy };
return { topic: "bench/known", payload: JSON.stringify(answer) };
