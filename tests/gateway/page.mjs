// Runs /docs/docs.js of a gateway in as much of a browser as it uses, and prints what a person would see.
// node page.mjs ADDRESS TOKEN "METHOD PATH" BODY, where the last two are a route to try (its parameters are 1).
import vm from "node:vm";

const [address, token, route, body] = process.argv.slice(2);

class Element {
  #text = "";
  constructor(name) {
    Object.assign(this, { name, children: [], listeners: {}, value: "" });
  }
  append(...added) {
    this.children.push(...added);
  }
  replaceChildren() {
    this.children = [];
  }
  addEventListener(kind, listener) {
    this.listeners[kind] = listener;
  }
  get childElementCount() {
    return this.children.filter((child) => child instanceof Element).length;
  }
  get textContent() {
    return this.#text + this.children.map((child) => child.textContent ?? child).join("");
  }
  set textContent(text) {
    this.#text = text;
  }
  set innerHTML(_) {
    throw new Error("an answer became markup");
  }
  all(name) {
    const found = this.children.filter((child) => child instanceof Element);
    return found.flatMap((child) => [...(child.name === name ? [child] : []), ...child.all(name)]);
  }
}

const byId = Object.fromEntries(["said", "models", "enter", "token"].map((id) => [id, new Element(id)]));
const document = { getElementById: (id) => byId[id], createElement: (name) => new Element(name) };
const page = {
  document,
  TextDecoder,
  URLSearchParams,
  fetch: (path, options) => fetch(new URL(path, address), options),
};

const script = await (await fetch(new URL("/docs/docs.js", address))).text();
vm.runInNewContext(script, page);
byId.token.value = token;
await byId.enter.listeners.submit({ preventDefault() {} });

const shown = { said: byId.said.textContent, models: {} };
for (const section of byId.models.all("section")) {
  const [title] = section.all("h2");
  const details = section.all("details");
  shown.models[title.textContent] = {
    ready: title.className === "ready",
    routes: details.map((one) => one.all("span")[0].textContent + " " + one.all("code")[0].textContent),
  };
  for (const one of details) {
    one.open = true;
    one.listeners.toggle();
    if (one.all("span")[0].textContent + " " + one.all("code")[0].textContent !== route) continue;
    for (const field of one.all("input")) field.value = "1";
    const [box] = one.all("textarea");
    shown.proposed = box && JSON.parse(box.value);
    if (box && body) box.value = body;
    await one.all("button")[0].listeners.click();
    shown.answer = one.all("pre")[0].textContent;
  }
}
console.log(JSON.stringify(shown));
