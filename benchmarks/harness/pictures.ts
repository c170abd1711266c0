import type { StackFigures } from "../e2e/measure.js";
import { type Panel, pictureOf } from "./panels.js";
import type { EndToEndResults, ScalingResults } from "./results.js";

/** A picture under the name of its file. */
export interface Picture {
  readonly file: string;
  readonly alt: string;
  readonly svg: string;
}

const PERCENTILES = ["p50", "p90", "p99", "p99.9"] as const;

function latenciesOf(figures: StackFigures): readonly number[] {
  return [figures.p50, figures.p90, figures.p99, figures.p999];
}

function latencyPanel(link: string, inFlight: number, figures: readonly StackFigures[]): Panel {
  return {
    title: `${link}, ${inFlight === 1 ? "one call after the other" : `${inFlight} in flight`}`,
    xLabel: "percentile",
    yLabel: "latency in µs",
    categories: PERCENTILES,
    series: figures.map((each) => ({
      name: each.stack,
      points: latenciesOf(each).map((y, x) => ({ x, y })),
      isReference: each.stack === figures[0]?.stack,
    })),
  };
}

/** Latency percentiles of real calls: a picture for each line of the SDK. */
export function latencyPictures({ figures, node }: EndToEndResults, major: number): readonly Picture[] {
  const lines = [...new Set(figures.map(({ line }) => line))];
  return lines.map((line) => {
    const own = figures.filter((each) => each.line === line);
    const loads = [...new Set(own.map(({ inFlight }) => inFlight))];
    const links = [...new Set(own.map(({ link }) => link))];
    const panels = loads.flatMap((inFlight) =>
      links.map((link) =>
        latencyPanel(
          link,
          inFlight,
          own.filter((each) => each.link === link && each.inFlight === inFlight),
        ),
      ),
    );
    const title = `Latency of calls through SDK ${line}, Node ${node}`;
    return { file: `latency-${line}-node${major}.svg`, alt: title, svg: pictureOf(title, panels, links.length) };
  });
}

/** Costs against sizes: one picture, a panel for each curve. */
export function scalingPicture({ curves, node }: ScalingResults, major: number): Picture {
  const title = `Cost against size, Node ${node}`;
  const panels = curves.map((curve) => ({
    title: curve.title,
    xLabel: curve.xLabel,
    yLabel: `${curve.unit} per call`,
    series: curve.series,
  }));
  return { file: `scaling-node${major}.svg`, alt: title, svg: pictureOf(title, panels, 2) };
}
