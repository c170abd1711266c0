export type { Alert } from "./alert.js";
export type { AlertCounts } from "./delivery.js";
export type { Quantiles } from "./latency.js";
export { type Monitor, monitor } from "./monitor.js";
export type { MonitorOptions, ToolAlertOptions } from "./options.js";
export { formatReport, type MonitorReport, type ToolReport } from "./report.js";
