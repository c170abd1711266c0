/**
 * A name of the browser's library that the declarations of the SDK use and those of Node do not have. Not published: whoever imports the SDK
 * has it, or checks no declarations of others.
 */
type HeadersInit = ConstructorParameters<typeof Headers>[0];
