// Allure 3's configuration. What is particular to a report stands beside it in report.json.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = (name) => new URL(name, import.meta.url);
const report = JSON.parse(readFileSync(here("report.json"), "utf8"));
const has = (labels, name, value) => labels.some((one) => one.name === name && one.value === value);

export default {
  name: report.name,
  historyPath: report.history,
  // The history is written anew from all runs each time; Allure is only to read it.
  appendHistory: false,
  environments: Object.fromEntries(
    report.environments.map(({ id, name, product, version }) => [
      id,
      {
        name,
        variables: { product, version },
        matcher: ({ labels }) => has(labels, "product", product) && has(labels, "product_version", version),
      },
    ]),
  ),
  categories: report.categories.map(({ name, verdict }) => ({
    name,
    matchers: [{ labels: { verdict: new RegExp(`^${verdict}$`) } }],
    groupBy: [{ label: "issue" }],
  })),
  plugins: {
    awesome: {
      import: fileURLToPath(here("site-report.mjs")),
      options: {
        // Only a single file can be opened without a web server.
        singleFile: true,
        reportName: report.name,
        groupBy: ["epic", "feature"],
      },
    },
  },
};
