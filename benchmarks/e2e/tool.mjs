/**
 * Adds the one tool there is, which answers at once: what is measured is the way to it and back.
 *
 * @template {{ registerTool: Function }} T
 * @param {T} server an McpServer of SDK v1 or v2
 * @returns {T}
 */
export function registerEcho(server) {
  server.registerTool("echo", { description: "Answers at once" }, () => ({
    content: [{ type: "text", text: "hello" }],
  }));
  return server;
}
