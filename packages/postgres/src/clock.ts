/** Milliseconds since the epoch, on the database's clock, at the moment of evaluation. */
export const NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::float8";

/**
 * The same for a `FROM`, read once: `c.now` is one moment however often it is used. A subquery that holds a volatile function is not
 * merged into the query round it.
 */
export const CLOCK: string = `(SELECT ${NOW} AS now) AS c`;
