/** Properties that live beside the target: read and written here, never on the target. */
const CALLBACKS: readonly PropertyKey[] = ["onmessage", "onclose", "onerror"];

/**
 * The target itself, but for a few members. Methods are bound to the target, so that its private fields work; the binding is
 * kept, so that a method stays the same function.
 *
 * @param callbacks - where the transport callbacks go that are set on the facade; the target's own by default
 */
export function facade(
  target: object,
  members: Record<PropertyKey, unknown>,
  callbacks?: { [name: string]: unknown } | object,
): object {
  const bound = new Map<PropertyKey, { readonly method: unknown; readonly bound: unknown }>();
  const isCallback = (property: PropertyKey): boolean => callbacks !== undefined && CALLBACKS.includes(property);

  return new Proxy(target, {
    get(object, property) {
      if (Object.hasOwn(members, property)) return members[property];
      if (isCallback(property)) return Reflect.get(callbacks as object, property);
      const value: unknown = Reflect.get(object, property, object);
      // Functions that are no methods: a callback comes back just as it was set.
      if (typeof value !== "function" || property === "constructor" || CALLBACKS.includes(property)) return value;
      const known = bound.get(property);
      if (known?.method === value) return known.bound;
      const entry = { method: value, bound: value.bind(object) };
      bound.set(property, entry);
      return entry.bound;
    },
    set(object, property, value) {
      // Whoever patches a member of ours (`send`) means ours: on the target it would call itself.
      if (Object.hasOwn(members, property)) return Reflect.set(members, property, value);
      return isCallback(property)
        ? Reflect.set(callbacks as object, property, value)
        : Reflect.set(object, property, value, object);
    },
    has: (object, property) => Object.hasOwn(members, property) || Reflect.has(object, property),
  });
}
