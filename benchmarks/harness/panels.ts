import { type EChartsCoreOption, init } from "echarts";
import type { Series } from "./scaling.js";

/** One plot among others in a picture. */
export interface Panel {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** Names of the places on the x axis, where it has names; else it is logarithmic, or linear if it starts at 0. */
  readonly categories?: readonly string[] | undefined;
  readonly series: readonly Series[];
}

const WIDTH = 460;
const HEIGHT = 340;
const MARGIN = { left: 70, right: 24, top: 84, bottom: 52 };
const HEAD = 36;
/** Told apart by people who see colours differently, too (Okabe and Ito). */
const COLORS = ["#000000", "#0072b2", "#e69f00", "#cc79a7", "#009e73", "#d55e00", "#56b4e9"];

function axisType(panel: Panel): "category" | "log" | "value" {
  if (panel.categories !== undefined) return "category";
  return panel.series.some(({ points }) => points.some(({ x }) => x <= 0)) ? "value" : "log";
}

const NAME = { nameLocation: "middle", nameTextStyle: { color: "#222" }, axisLabel: { color: "#222" } } as const;
const short = (value: number): string => value.toLocaleString("en", { notation: "compact" });

/** Options of one panel at its place; `index` is that of its axes. */
function placed(panel: Panel, index: number, columns: number, colorOf: (name: string) => string) {
  const left = (index % columns) * WIDTH;
  const top = HEAD + Math.floor(index / columns) * HEIGHT;
  const type = axisType(panel);
  return {
    title: {
      text: panel.title,
      left: left + MARGIN.left - 8,
      top: top + 4,
      textStyle: { fontSize: 13, color: "#222" },
    },
    legend: {
      data: panel.series.map(({ name }) => name),
      left: left + MARGIN.left - 12,
      top: top + 24,
      width: WIDTH - MARGIN.left,
      itemGap: 14,
      itemWidth: 16,
      itemHeight: 8,
      textStyle: { fontSize: 11, color: "#222" },
    },
    grid: {
      left: left + MARGIN.left,
      top: top + MARGIN.top,
      width: WIDTH - MARGIN.left - MARGIN.right,
      height: HEIGHT - MARGIN.top - MARGIN.bottom,
    },
    xAxis: {
      ...NAME,
      type,
      gridIndex: index,
      name: panel.xLabel,
      nameGap: 28,
      ...(type === "category" ? { data: panel.categories } : { axisLabel: { ...NAME.axisLabel, formatter: short } }),
    },
    yAxis: {
      ...NAME,
      type: "log",
      gridIndex: index,
      name: panel.yLabel,
      nameGap: 46,
      axisLabel: { ...NAME.axisLabel, formatter: short },
    },
    series: panel.series.map(({ name, points, isReference }) => ({
      type: "line",
      name,
      xAxisIndex: index,
      yAxisIndex: index,
      symbolSize: 6,
      silent: true,
      emphasis: { disabled: true },
      lineStyle: { type: isReference === true ? "dashed" : "solid", width: isReference === true ? 1.5 : 2.5 },
      color: colorOf(name),
      data: points.map(({ x, y }) => (type === "category" ? y : [x, y])),
    })),
  };
}

/** Marks for hovering, which are numbered differently in every process. */
function withoutClasses(svg: string): string {
  return svg.replace(/ class="zr[^"]*"/g, "").replace(/<style\b[\s\S]*?<\/style>\s*/g, "");
}

/** For whoever hears the picture. */
function withTitle(svg: string, title: string): string {
  return svg.replace(/^<svg[^>]*>/, (opening) => `${opening}\n<title>${title}</title>`);
}

/** Panels side by side as one picture. */
export function pictureOf(title: string, panels: readonly Panel[], columns: number): string {
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  const colorOf = (name: string): string => COLORS[names.indexOf(name) % COLORS.length] ?? "#000000";
  const parts = panels.map((panel, index) => placed(panel, index, columns, colorOf));
  const option: EChartsCoreOption = {
    animation: false,
    backgroundColor: "#ffffff",
    title: [
      { text: title, left: 16, top: 8, textStyle: { fontSize: 15, color: "#222" } },
      ...parts.map((part) => part.title),
    ],
    legend: parts.map(({ legend }) => legend),
    grid: parts.map(({ grid }) => grid),
    xAxis: parts.map(({ xAxis }) => xAxis),
    yAxis: parts.map(({ yAxis }) => yAxis),
    series: parts.flatMap(({ series }) => series),
  };
  const size = { width: WIDTH * columns, height: HEAD + HEIGHT * Math.ceil(panels.length / columns) };
  const chart = init(null, null, { renderer: "svg", ssr: true, ...size });
  try {
    chart.setOption(option);
    return `${withTitle(withoutClasses(chart.renderToSVGString()), title)}\n`;
  } finally {
    chart.dispose();
  }
}
