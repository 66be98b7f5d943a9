// Allure's own report as a page of a site: it asks nothing of other hosts, and leads into the site.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { tools, site } = JSON.parse(readFileSync(new URL("report.json", import.meta.url), "utf8"));
const awesome = createRequire(tools).resolve("@allurereport/plugin-awesome");
const { default: AwesomePlugin } = await import(pathToFileURL(awesome));

// Allure has no option for its analytics. Whatever it or a log may bring, nothing is loaded from elsewhere.
const POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'";

// Allure makes links of whole addresses only. Those into the site become relative as they are pointed at.
const relative = (address) => {
  for (const event of ["pointerover", "focusin"]) {
    document.addEventListener(event, ({ target }) => {
      const link = target.closest(`a[href^="${address}"]`);
      if (link) link.setAttribute("href", `../${link.getAttribute("href").slice(address.length)}`);
    });
  }
};

// In Allure's single file the data stand behind the program. Where that runs before the browser has read them, it
// waits for them only if there is an object that they will be put into; else it looks for them in other files.
const WAIT = "window.allureReportData = {};";

const HEAD = `<head>
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<script>${WAIT} (${relative})(${JSON.stringify(site)});</script>`;

function inSite(page) {
  const text = page.toString("utf8");
  const head = text.indexOf("<head>");
  if (head < 0) throw new Error("Allure's page has no head for the site's policy");
  return Buffer.from(text.slice(0, head) + HEAD + text.slice(head + "<head>".length), "utf8");
}

export default class SiteReport extends AwesomePlugin {
  constructor(options) {
    super(options);
    const { done } = this;
    this.done = (context, store) => {
      const addFile = (name, content) =>
        context.reportFiles.addFile(name, name === "index.html" ? inSite(content) : content);
      return done({ ...context, reportFiles: { addFile } }, store);
    };
  }
}
