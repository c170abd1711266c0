export function registerEcho<T>(server: T): T;
