// Says of each value of a JSON array whether a JSON Schema accepts it: validate.js SCHEMA VALUES.

import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const [schema, values] = process.argv.slice(2).map((path) => JSON.parse(readFileSync(path, "utf8")));
const ajv = new Ajv2020({ allowUnionTypes: true });
addFormats.default(ajv);
const isValid = ajv.compile(schema);
for (const value of values) console.log(isValid(value));
