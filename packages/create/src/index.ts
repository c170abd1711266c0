export { type Created, type CreateOptions, createMiddlewarePackage } from "./create.js";
export { type Names, namesOf } from "./names.js";
