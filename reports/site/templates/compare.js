// The comparison of any two builds; which ones, stands in the address.
const data = JSON.parse(document.getElementById("data").textContent);
const selects = { from: document.getElementById("from"), to: document.getElementById("to") };
const only = document.getElementById("only");
const absent = document.getElementById("absent");
const many = data.issues.length > 20;
const body = document.getElementById("rows");
const byId = new Map(data.builds.map((build) => [build.id, build]));

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A page that stands alone has no others to lead to.
function link(page, attributes, ...children) {
  return page ? element("a", { ...attributes, href: page }, ...children) : element("span", attributes, ...children);
}

function pill(found) {
  if (!found) return element("span", { class: "soft" }, "no run");
  const { verdict, answer, page } = found;
  const sign = element("span", { class: "sign", "aria-hidden": "true" }, data.signs[verdict]);
  const words = element("span", { class: "words" }, answer);
  if (verdict !== "not-applicable") words.append(" ", element("span", { class: "verdict" }, verdict));
  return link(page, { class: "cell" }, element("span", { class: `pill ${verdict}` }, sign, " ", words));
}

function cell(label, ...children) {
  return element("td", { role: "cell", "data-label": label }, ...children);
}

function show() {
  const [before, after] = [byId.get(selects.from.value), byId.get(selects.to.value)];
  const idle = [undefined, "not-applicable"];
  const found = [];
  for (const issue of data.issues) {
    const [a, b] = [issue.cells[before.id], issue.cells[after.id]];
    if (idle.includes(a?.verdict) && idle.includes(b?.verdict)) continue;
    const [first, second] = [a, b].map((one) => (one?.judged ? one.verdict : ""));
    found.push({ issue, a, b, change: data.changes[first][second] });
  }
  const order = Object.keys(data.words);
  found.sort((one, other) => order.indexOf(one.change) - order.indexOf(other.change));
  const shown = only.checked ? found.filter((one) => data.differs.includes(one.change)) : found;
  body.replaceChildren(
    ...shown.map(({ issue, a, b, change }) => {
      const head = element("th", { scope: "row", role: "rowheader" }, link(issue.page, {}, issue.title), element("div", { class: "meta" }, element("span", { class: "id" }, issue.id)));
      const word = element("span", { class: `change ${data.tones[change]}`, title: data.words[change] }, change);
      return element("tr", { role: "row" }, cell("Change", word), head, cell(before.called, pill(a)), cell(after.called, pill(b)));
    }),
  );
  document.getElementById("head-from").textContent = before.called;
  document.getElementById("head-to").textContent = after.called;
  const counts = order.map((word) => [found.filter((one) => one.change === word).length, word]).filter(([count]) => count);
  document.getElementById("summary").textContent = counts.length
    ? counts.map(([count, word]) => `${count} ${word}`).join(", ")
    : "Neither of them has results of an issue that concerns it.";
  document.getElementById("nothing").hidden = shown.length > 0 || found.length === 0;
  document.getElementById("command").textContent = `clusterproof diff ${before.id} ${after.id}`;
  for (const [side, build] of [["from", before], ["to", after]]) {
    const series = build.track === "feature" ? "feature releases" : `series ${build.track}`;
    const words = `${build.called}: ${build.version}, ${series}`;
    document.getElementById(`page-${side}`).replaceChildren(link(build.page, {}, words));
  }
}

function write() {
  const address = new URLSearchParams({ from: selects.from.value, to: selects.to.value });
  if (only.checked !== many) address.set("only", only.checked ? "changes" : "all");
  absent.hidden = true;
  window.history.replaceState(null, "", `#${address}`);
  show();
}

// Of the same product the newest build that is not newer; else the oldest.
function nearest(wanted, instead) {
  const [product, version] = wanted.split("@");
  const same = data.builds.filter((build) => build.product === product);
  const older = /^\d/.test(version ?? "") ? same.filter((build) => compareVersions(build.version, version) <= 0) : [];
  const byAge = (one, other) => compareVersions(one.version, other.version);
  return (older.sort(byAge).at(-1) ?? same.sort(byAge)[0])?.id ?? instead;
}

// A link to a build that has no results any more must not show another comparison without a word.
function refuse(missing, address) {
  const [before, after] = ["from", "to"].map((side) => {
    const wanted = address.get(side) ?? "";
    return byId.has(wanted) ? wanted : nearest(wanted, selects[side].value);
  });
  const words = `Compare ${byId.get(before).called} with ${byId.get(after).called}`;
  const offer = element("a", { href: `#${new URLSearchParams({ from: before, to: after })}` }, words);
  absent.replaceChildren(element("strong", {}, `No results of ${missing.join(", ")}.`), " The nearest: ", offer);
  absent.hidden = false;
  body.replaceChildren();
  for (const id of ["summary", "command"]) document.getElementById(id).textContent = "";
}

function read() {
  const hash = window.location.hash.slice(1);
  if (hash && !hash.includes("=")) return;
  const address = new URLSearchParams(hash);
  const missing = ["from", "to"].map((side) => address.get(side)).filter((one) => one !== null && !byId.has(one));
  only.checked = address.has("only") ? address.get("only") === "changes" : many;
  if (missing.length) return refuse(missing, address);
  for (const [side, select] of Object.entries(selects)) if (address.has(side)) select.value = address.get(side);
  absent.hidden = true;
  show();
}

for (const control of [selects.from, selects.to, only]) control.addEventListener("change", write);
document.getElementById("swap").addEventListener("click", () => {
  [selects.from.value, selects.to.value] = [selects.to.value, selects.from.value];
  write();
});
window.addEventListener("hashchange", read);
if (data.builds.length) read();
