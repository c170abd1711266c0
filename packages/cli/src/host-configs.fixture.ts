/** Configurations as the hosts write them, and as people edit them. */

export const CLAUDE_DESKTOP = `{
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": [
        "-y",
        "@modelcontextprotocol/server-filesystem",
        "/Volumes/me/Desktop",
        "/Volumes/me/a folder with \\"quotes\\" and \\\\ backslashes"
      ]
    },
    "weather": {
      "command": "uv",
      "args": ["--directory", "/absolute/path", "run", "weather.py"],
      "env": {
        "API_KEY": "sk-weather-secret"
      }
    },
    "bare": { "command": "my-server" }
  },
  "globalShortcut": "",
  "isUsingBuiltInNodeForMcp": true
}
`;

/** As Claude Code writes it itself: two spaces, no line end at the end, much that is none of our business. */
export const CLAUDE_CODE = `{
  "numStartups": 212,
  "installMethod": "native",
  "tipsHistory": { "shift-enter": 12 },
  "mcpServers": {
    "github": {
      "type": "http",
      "url": "https://api.example.com/mcp/",
      "headers": {
        "Authorization": "Bearer ghp_secret",
        "X-Team": "\${TEAM}"
      }
    },
    "memory": {
      "type": "stdio",
      "command": "npx",
      "args": [
        "-y",
        "@modelcontextprotocol/server-memory"
      ],
      "env": {}
    }
  },
  "projects": {
    "/Volumes/me/work": {
      "allowedTools": [],
      "mcpServers": {
        "db": {
          "type": "stdio",
          "command": "docker",
          "args": ["run", "-i", "--rm", "-e", "DATABASE_URL", "mcp/postgres"],
          "env": { "DATABASE_URL": "postgres://me:hunter2@localhost/app" }
        }
      },
      "hasTrustDialogAccepted": true
    },
    "/Volumes/me/empty": { "mcpServers": {} },
    "/Volumes/me/none": {}
  },
  "oauthAccount": { "accountUuid": "secret-account" }
}`;

export const CURSOR = `{
\t"mcpServers": {
\t\t"local": {
\t\t\t"command": "node",
\t\t\t"args": ["\${workspaceFolder}/server.js", ""],
\t\t\t"envFile": "\${workspaceFolder}/.env"
\t\t},
\t\t"remote": {
\t\t\t"url": "http://localhost:3000/mcp"
\t\t},
\t\t"signed-in": {
\t\t\t"url": "https://mcp.example.com/mcp",
\t\t\t"auth": { "CLIENT_ID": "abc" }
\t\t}
\t}
}
`;

export const VSCODE = `{
  // Asked for once, and kept by VS Code.
  "inputs": [
    {
      "type": "promptString",
      "id": "perplexity-key", // shown in the list
      "description": "Perplexity API Key",
      "password": true,
    },
  ],
  "servers": {
    /* From the documentation. */
    "perplexity": {
      "type": "stdio",
      "command": "npx", // not pnpx
      "args": [
        // the package
        "-y", "server-perplexity-ask",
      ],
      "env": {
        "PERPLEXITY_API_KEY": "\${input:perplexity-key}"
      },
      "dev": { "watch": "build/**/*.js" },
    },
    "search": {
      "type": "http",
      "url": "https://search.example.com/mcp",
      // sent with every request
      "headers": { "Authorization": "Bearer \${input:perplexity-key}" }
    },
    "old": { "type": "sse", "url": "https://old.example.com/sse" },
  },
}
`;
