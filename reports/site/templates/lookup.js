// A version as somebody pastes it, held against what is documented and what runs saw.
const data = JSON.parse(document.getElementById("data").textContent);
const version = document.getElementById("version");
const product = document.getElementById("product");
const form = document.getElementById("ask");
form.hidden = false;

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The track whose name the version begins with. "4.0.9" names one that may not be known; else it is a feature release.
function trackOf(name, text) {
  const numbers = parts(text).upstream.split("+")[0].split(".");
  for (let count = numbers.length; count; count -= 1) {
    const track = numbers.slice(0, count).join(".");
    if (data.tracks[name].includes(track)) return track;
  }
  return numbers[1] === "0" && numbers.length > 2 ? `${numbers[0]}.0` : "feature";
}

function parse(text) {
  // "lxc version" prints the client's first; what counts is the server's.
  const server = /server version:\s*(.*)/i.exec(text);
  const source = server ? server[1] : text;
  const named = /\b(lxd|lxc|incus)\b/i.exec(text)?.[1].toLowerCase().replace("lxc", "lxd");
  const found = /(?:\d+:)?\d+(?:\.\d+)+[\w.+~-]*|(?:\d+:)?\d+[\w.+~]*-[\w.+~]+/.exec(source)?.[0];
  if (!found) return null;
  let which = product.value || named;
  if (!which) {
    // A version that only one product has a numbered track of is that one's.
    const having = Object.keys(data.tracks).filter((one) => trackOf(one, found) !== "feature" && data.tracks[one].includes(trackOf(one, found)));
    which = having.length === 1 ? having[0] : null;
  }
  return { product: which, version: found };
}

function rangesOf(issue, wanted, track) {
  const own = issue.ranges.filter((one) => one.product === wanted && one.track === track);
  return own.length ? own : issue.ranges.filter((one) => one.product === wanted && one.track === null);
}

function affects(range, text) {
  if (!range.affected) return false;
  if (range.introduced && isBefore(text, range.introduced)) return false;
  return !(range.fixed && !isBefore(text, range.fixed));
}

function words(range) {
  if (!range.affected) return "not affected";
  const { introduced, fixed } = range;
  if (introduced && fixed) return `from ${introduced}, fixed in ${fixed}`;
  if (introduced) return `from ${introduced}`;
  return fixed ? `before ${fixed}` : "every version";
}

const NAMED = 5;
const KINDS = { "has the bug": "in", "free of it": "free", "fails otherwise": "fails" };

// What is known of one issue: seen on this very build, else documented, else nothing.
function judge(issue, asked, track, exact) {
  const seen = exact && issue.seen[exact.id];
  if (seen && seen.answer in KINDS) return { kind: KINDS[seen.answer], seen };
  const ranges = rangesOf(issue, asked.product, track);
  const hit = ranges.find((one) => affects(one, asked.version));
  if (hit) return { kind: "in", range: hit };
  return ranges.length ? { kind: "free", range: ranges[0] } : { kind: "unknown" };
}

const called = (build) => `${data.products[build.product]} ${build.short}`;
const buildOf = (id) => data.builds.find((one) => one.id === id);

function nearest(issue, asked, track) {
  const tested = data.builds.filter((one) => one.product === asked.product && one.track === track && issue.seen[one.id]?.answer in KINDS);
  const older = tested.filter((one) => compareVersions(one.version, asked.version) <= 0);
  return older[older.length - 1] ?? tested[0];
}

// A few builds by name, the one that is asked for first, and how many more.
function some(ids, exact) {
  const ordered = [...ids].sort((one, other) => (other === exact?.id) - (one === exact?.id));
  const names = ordered.slice(0, NAMED).map((id) => called(buildOf(id)));
  return ids.length > NAMED ? `${names.join(", ")} and ${ids.length - NAMED} more` : names.join(", ");
}

function item(issue, asked, track, exact) {
  const { kind, seen, range } = judge(issue, asked, track, exact);
  const text = { in: "● has the bug", free: "✓ free of it", fails: "▲ fails otherwise", unknown: "○ not known" }[kind];
  const pill = element("span", { class: `pill answer-${kind}${seen || kind === "unknown" || range?.run ? "" : " documented"}` }, text);
  const head = element("span", {}, element("a", { href: issue.page }, element("strong", {}, issue.title)), " ", element("span", { class: "id" }, issue.id));
  const made = element("li", {}, seen ? element("a", { class: "cell", href: seen.page }, pill) : pill, head);
  if (kind === "in" || kind === "fails") {
    const way = element("p", {}, element("span", { class: "soft" }, "Way out: "), issue.workaround ?? "none is documented.");
    if (issue.verified.length) way.append(" ", element("span", { class: "tick" }, `✓ verified on ${some(issue.verified, exact)}`));
    if (range?.fixed) way.append(` Or upgrade to ${data.products[asked.product]} ${range.fixed}.`);
    made.append(way);
  }
  const why = element("p", { class: "soft" });
  if (seen) why.append("Seen by a run on this build.");
  else if (range) why.append(`Documented: ${words(range)}, ${range.run ? "shown by runs" : "read in upstream's code"}.`);
  else why.append("Nothing is documented of this series.");
  const other = !seen && nearest(issue, asked, track);
  if (other) {
    const there = issue.seen[other.id];
    why.append(" Nearest tested: ", element("a", { href: there.page }, called(other)), `, ${there.answer}.`);
  }
  made.append(why);
  return { kind, made, seen };
}

const GROUPS = [["in", "In it"], ["fails", "Fails otherwise"], ["unknown", "Not known"], ["free", "Free of it"]];

function show() {
  const asked = version.value.trim() ? parse(version.value) : null;
  document.getElementById("answer").hidden = !version.value.trim();
  const said = document.getElementById("said");
  const groups = document.getElementById("groups");
  groups.replaceChildren();
  if (!asked) return void (said.textContent = "There is no version in that. Write it like 5.0.2-5+deb12u6.");
  if (!asked.product) return void (said.textContent = `Is ${asked.version} a version of LXD or of Incus? Choose the product.`);
  const track = trackOf(asked.product, asked.version);
  const same = data.builds.filter((one) => one.product === asked.product);
  const exact = same.find((one) => one.version === asked.version) ?? same.find((one) => one.short === asked.version);
  const found = data.issues.filter((one) => one.products.includes(asked.product)).map((one) => item(one, asked, track, exact));
  const count = (kind) => found.filter((one) => one.kind === kind).length;
  const series = track === "feature" ? "feature releases" : `series ${track}`;
  said.replaceChildren(
    element("strong", {}, `${data.products[asked.product]} ${asked.version}`),
    ` (${series}): ${count("in")} of ${found.length} documented issues in it, ${count("free")} not, ${count("fails") ? `${count("fails")} fail otherwise, ` : ""}${count("unknown")} not known. `,
    ...(exact
      ? [element("a", { href: exact.page }, "This build was tested"), `: ${found.filter((one) => one.seen).length} answers are its runs', the others what is documented.`]
      : ["This version was not tested: this is what is documented."]),
  );
  for (const [kind, title] of GROUPS) {
    const items = found.filter((one) => one.kind === kind).map((one) => one.made);
    if (items.length) groups.append(element("h2", {}, `${title} `, element("small", {}, String(items.length))), element("ul", { class: "found" }, ...items));
  }
}

function write() {
  const query = version.value.trim() ? `#${product.value ? `${product.value}@` : ""}${encodeURIComponent(version.value.trim()).replaceAll("%40", "@").replaceAll("%2B", "+")}` : "#";
  window.history.replaceState(null, "", query);
  show();
}

function read() {
  let wanted = "";
  try {
    wanted = decodeURIComponent(window.location.hash.slice(1));
  } catch {
    wanted = window.location.hash.slice(1);
  }
  if (!/\d/.test(wanted)) return show();
  const [, name, text] = /^(?:(lxd|incus)@)?([^]*)$/.exec(wanted);
  product.value = name ?? "";
  version.value = text;
  show();
}

version.addEventListener("input", write);
product.addEventListener("change", write);
form.addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("popstate", read);
read();
if (!version.value) version.focus();
