// JSON Schemas as rows for people: what a field is called, what may stand there, and what it means.

const KINDS = {
  string: "text",
  integer: "whole number",
  number: "number",
  boolean: "true or false",
  object: "object",
  array: "list",
  null: "null",
};
// A field within a field within a field: deeper ones are told by the document itself.
const DEPTH_MAX = 3;
// References that lead to references; a document of ours has one or two in a row.
const STEPS_MAX = 8;

// The schema that is meant, with what is said beside a reference.
export function resolved(api, schema) {
  let now = schema ?? {};
  for (let step = 0; now.$ref && step < STEPS_MAX; step += 1) {
    const { $ref, ...own } = now;
    const found = $ref
      .slice(2)
      .split("/")
      .reduce((at, part) => at?.[part], api);
    now = { ...found, ...own };
  }
  return now;
}

// The schema without its `or null`, and whether it had one.
function without(api, schema) {
  const whole = resolved(api, schema);
  const either = whole.anyOf ?? whole.oneOf;
  if (!either) return { one: whole, isNullable: [whole.type].flat().includes("null") };
  const rest = either.filter((part) => part.type !== "null");
  const one = rest.length === 1 ? resolved(api, rest[0]) : { ...whole, several: rest };
  return { one, isNullable: rest.length < either.length };
}

const quotedList = (values) => values.map((value) => JSON.stringify(value)).join(", ");

// What may stand there, in some words.
export function kind(api, schema) {
  const { one, isNullable } = without(api, schema);
  const words = kindOf(api, one);
  return isNullable && !words.endsWith("null") ? `${words} or null` : words;
}

function kindOf(api, one) {
  const several = one.several ?? one.anyOf ?? one.oneOf;
  if (several) return [...new Set(several.map((part) => kind(api, part)))].join(", or ");
  if ("const" in one) return JSON.stringify(one.const);
  if (one.enum) return quotedList(one.enum.filter((value) => value !== null));
  const types = [one.type].flat().filter((type) => type && type !== "null");
  if (types.length === 0) return "any JSON";
  const words = types.map((type) => KINDS[type] ?? type).join(" or ");
  if (types[0] === "array") return `list of ${one.items ? kind(api, one.items) : "any JSON"}`;
  return words + bounds(one);
}

function bounds(one) {
  const { minimum: least, maximum: most, maxLength: long, format } = one;
  if (format === "date-time") return ", a time (RFC 3339)";
  if (least !== undefined && most !== undefined) return `, ${least} to ${most}`;
  if (long !== undefined) return `, up to ${long} characters`;
  return "";
}

// The fields of an object, or of what a list has, each with those within it right behind it.
export function rows(api, schema, path = "", depth = 0) {
  let { one } = without(api, schema);
  if (one.items) ({ one } = without(api, one.items));
  const required = new Set(one.required ?? []);
  return Object.entries(one.properties ?? {}).flatMap(([name, field]) => {
    const whole = resolved(api, field);
    const own = {
      name: path ? `${path}.${name}` : name,
      kind: kind(api, field),
      isRequired: required.has(name),
      means: whole.description ?? "",
      value: whole.default,
    };
    return depth + 1 < DEPTH_MAX ? [own, ...rows(api, field, own.name, depth + 1)] : [own];
  });
}
