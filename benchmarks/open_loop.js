// Requests at a constant arrival rate, whatever the answers take.
import http from "k6/http";
import { check } from "k6";

const prompts = JSON.parse(open(__ENV.PROMPTS));
const rate = Number(__ENV.RATE);

const arrivals = {
  executor: "constant-arrival-rate",
  rate: Math.round(rate * 100),
  timeUnit: "100s",
  preAllocatedVUs: 300,
  maxVUs: 300,
};

export const options = {
  discardResponseBodies: true,
  scenarios: {
    // Opens the connections; not counted.
    before: { ...arrivals, duration: "3s", gracefulStop: "0s" },
    open: { ...arrivals, duration: __ENV.DURATION, startTime: "3s" },
  },
  // Thresholds that always hold: only what has one is told apart by scenario.
  thresholds: {
    "http_req_duration{scenario:open}": ["max>=0"],
    "dropped_iterations{scenario:open}": ["count>=0"],
    "checks{scenario:open}": ["rate>=0"],
  },
  summaryTrendStats: ["med", "p(95)", "p(99)", "max", "count"],
};

export default function () {
  const prompt = prompts[Math.floor(Math.random() * prompts.length)];
  const body = { inputs: [{ name: "prompt", shape: [1], datatype: "BYTES", data: [prompt] }] };
  const answer = http.post(__ENV.URL, JSON.stringify(body), { headers: { "Content-Type": "application/json" } });
  check(answer, { answered: (r) => r.status === 200 });
}
