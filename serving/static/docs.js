// Draws /openapi.json: one section per route, its body and its answer as tables. No outside resource.
"use strict";

function make(tag, { text, children = [], ...attributes } = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter(Boolean));
  return element;
}

function nameOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(nameOf).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${nameOf(schema.items) || "values"}`;
  return schema.type ?? "any";
}

function limits(schema) {
  const named = { minimum: "≥", maximum: "≤", exclusiveMinimum: ">", exclusiveMaximum: "<", maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤" };
  const found = Object.entries(named).filter(([name]) => schema[name] !== undefined).map(([name, sign]) => `${sign} ${schema[name]}`);
  if (schema.default !== undefined && schema.default !== null) found.push(`default ${JSON.stringify(schema.default)}`);
  return found.join(", ");
}

function table(all, schema, seen = new Set()) {
  const name = nameOf(schema);
  const target = schema?.$ref ? all[name] : schema;
  if (!target?.properties || seen.has(name)) return [];
  seen.add(name);
  const rows = Object.entries(target.properties).map(([field, about]) => make("tr", { children: [
    make("td", { children: [make("code", { text: field }), make("span", { text: target.required?.includes(field) ? " *" : "" })] }),
    make("td", { text: nameOf(about) }), make("td", { text: limits(about) }), make("td", { text: about.description ?? "" }),
  ] }));
  const inner = Object.values(target.properties).flatMap((about) => [about, about.items, ...(about.anyOf ?? [])]).filter((each) => each?.$ref);
  return [make("h3", { text: target.title ?? name }), make("table", { children: [make("tbody", { children: rows })] }),
    ...inner.flatMap((each) => table(all, each, seen))];
}

async function start() {
  const document_ = await (await fetch("/openapi.json")).json();
  const schemas = document_.components.schemas;
  const routes = Object.entries(document_.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, about]) => {
    const body = about.requestBody?.content?.["application/json"]?.schema;
    const answer = Object.entries(about.responses).find(([code]) => code.startsWith("2"))?.[1]?.content?.["application/json"]?.schema;
    return make("article", { children: [
      make("h2", { children: [make("code", { children: [make("span", { class: "method", text: method.toUpperCase() }), make("span", { text: path })] })] }),
      make("p", { text: about.description ?? about.summary ?? "" }), ...table(schemas, body), ...table(schemas, answer),
    ] });
  }));
  const error = make("article", { children: [make("h2", { text: "Errors" }), ...table(schemas, { $ref: "#/components/schemas/ErrorResponse" })] });
  window.document.getElementById("routes").replaceChildren(...routes, error);
}

start();
