// Requests at a constant arrival rate, whatever the answers take; latency counts from the intended start.
import http from "k6/http";
import { check } from "k6";

const prompts = JSON.parse(open(__ENV.PROMPTS));
const rate = Number(__ENV.RATE);

export const options = {
  discardResponseBodies: true,
  scenarios: {
    open: {
      executor: "constant-arrival-rate",
      rate: Math.round(rate * 100),
      timeUnit: "100s",
      duration: __ENV.DURATION,
      preAllocatedVUs: 300,
      maxVUs: 300,
    },
  },
  summaryTrendStats: ["med", "p(95)", "p(99)", "max", "count"],
};

export default function () {
  const prompt = prompts[Math.floor(Math.random() * prompts.length)];
  const body = { inputs: [{ name: "prompt", shape: [1], datatype: "BYTES", data: [prompt] }] };
  const answer = http.post(__ENV.URL, JSON.stringify(body), { headers: { "Content-Type": "application/json" } });
  check(answer, { answered: (r) => r.status === 200 });
}
