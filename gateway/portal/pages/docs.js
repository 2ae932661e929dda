"use strict";
// Shows /openapi.json and lets one try what is in it. All text is set as text: nothing that a model or an answer
// says becomes part of the page's own markup.

const said = document.getElementById("said");
const models = document.getElementById("models");
let token = "";

document.getElementById("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  token = document.getElementById("token").value.trim();
  models.replaceChildren();
  const [catalogue, openapi] = await Promise.all([read("/models"), read("/openapi.json")]);
  if (!catalogue || !openapi) return;
  said.textContent = `${catalogue.models.length} model(s).`;
  for (const model of catalogue.models) models.append(section(model, openapi));
});

function authorized(headers) {
  return { authorization: `Bearer ${token}`, ...headers };
}

async function read(path) {
  try {
    const answer = await fetch(path, { headers: authorized({}) });
    const body = await answer.json();
    if (answer.ok) return body;
    said.textContent = [body.error, ...body.details.map((detail) => detail.message)].join(" ");
  } catch (error) {
    said.textContent = `The gateway did not answer (${error.message}).`;
  }
  return null;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function section(model, openapi) {
  const title = element("h2", { className: model.ready ? "ready" : "away" }, model.name);
  const limits = Object.entries(model.limits).filter(([, value]) => value !== null);
  const note = limits.map(([name, value]) => `${name} ${typeof value === "object" ? `${value.requests} in ${value.seconds} s` : value}`);
  const found = element("section", {}, title, element("p", { className: "note" }, note.join(" · ")));
  for (const [path, methods] of Object.entries(openapi.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      if (operation.tags.includes(model.name)) found.append(route(path, method.toUpperCase(), operation, openapi));
    }
  }
  if (model.grpc.length) found.append(element("p", { className: "note" }, `gRPC, with metadata quintet-model: ${model.name}: ${model.grpc.join(", ")}`));
  return found;
}

function route(path, method, operation, openapi) {
  const head = element("summary", {}, element("span", { className: "method" }, method), element("code", {}, path), ` ${operation.summary || ""}`);
  const details = element("details", {}, head);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...trial(path, method, operation, openapi));
  });
  return details;
}

function trial(path, method, operation, openapi) {
  const inputs = (operation.parameters || [])
    .filter((parameter) => parameter.in === "path" || parameter.in === "query")
    .map((parameter) => ({ ...parameter, field: element("input", { ariaLabel: parameter.name, placeholder: parameter.name }) }));
  const schema = operation.requestBody?.content?.["application/json"];
  const body = schema && element("textarea", { rows: 8, spellcheck: false, ariaLabel: "body" });
  if (body) body.value = JSON.stringify(schema.example ?? example(schema.schema, openapi, 0), null, 2);
  const answer = element("pre", { hidden: true });
  const send = element("button", { type: "button" }, "Send");
  send.addEventListener("click", () => call(address(path, inputs), method, body?.value, answer));
  const scope = operation["x-quintet-scope"];
  return [
    element("p", { className: "note" }, scope ? `scope ${scope}` : "no token needed", operation.description ? ` · ${operation.description}` : ""),
    ...inputs.map((input) => input.field),
    ...(body ? [body] : []),
    send,
    answer,
  ];
}

function address(path, inputs) {
  const query = new URLSearchParams();
  for (const { name, in: where, field } of inputs) {
    if (where === "path") path = path.replace(`{${name}}`, encodeURIComponent(field.value));
    else if (field.value) query.set(name, field.value);
  }
  return query.size ? `${path}?${query}` : path;
}

async function call(path, method, body, shown) {
  shown.hidden = false;
  shown.textContent = "...";
  try {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const answer = await fetch(path, { method, headers: authorized(headers), body });
    shown.textContent = `${answer.status} · x-request-id ${answer.headers.get("x-request-id")}\n\n`;
    const decoder = new TextDecoder();
    for (const reader = answer.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      shown.textContent += decoder.decode(value, { stream: true });
    }
  } catch (error) {
    shown.textContent += `No answer (${error.message}).`;
  }
}

// A value that fits a schema, to begin from.
function example(schema, openapi, depth) {
  if (!schema || depth > 6) return null;
  if (schema.$ref) return example(openapi.components.schemas[schema.$ref.split("/").pop()], openapi, depth + 1);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  const either = schema.anyOf || schema.oneOf || schema.allOf;
  if (either) return example(either[0], openapi, depth + 1);
  if (schema.type === "object" || schema.properties) {
    const needed = Object.entries(schema.properties || {}).filter(([name]) => !schema.required || schema.required.includes(name));
    return Object.fromEntries(needed.map(([name, property]) => [name, example(property, openapi, depth + 1)]));
  }
  if (schema.type === "array") return [example(schema.items, openapi, depth + 1)];
  return { string: "text", integer: 1, number: 1, boolean: true }[schema.type] ?? null;
}
