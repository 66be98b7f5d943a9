// Versions in Debian's order (policy 5.6.12), as builds.py has them.
function parts(version) {
  const [, epoch, rest] = /^(?:(\d+):)?(.*)$/.exec(version);
  const dash = rest.lastIndexOf("-");
  return { epoch: Number(epoch ?? 0), upstream: dash < 0 ? rest : rest.slice(0, dash), revision: dash < 0 ? null : rest.slice(dash + 1) };
}

// Letters come before everything else, and a tilde even before the end.
function weight(sign) {
  if (sign === "~") return -1;
  if (!sign || /\d/.test(sign)) return 0;
  return /[A-Za-z]/.test(sign) ? sign.charCodeAt(0) : sign.charCodeAt(0) + 256;
}

function compareTexts(one, other) {
  let [a, b] = [one, other];
  while (a || b) {
    const [left, right] = [/^\D*/.exec(a)[0], /^\D*/.exec(b)[0]];
    for (let at = 0; at < Math.max(left.length, right.length); at += 1) {
      const difference = weight(left[at]) - weight(right[at]);
      if (difference) return difference;
    }
    [a, b] = [a.slice(left.length), b.slice(right.length)];
    const [first, second] = [/^\d*/.exec(a)[0], /^\d*/.exec(b)[0]];
    const difference = BigInt(first || 0) - BigInt(second || 0);
    if (difference) return difference < 0n ? -1 : 1;
    [a, b] = [a.slice(first.length), b.slice(second.length)];
  }
  return 0;
}

function compareVersions(one, other) {
  const [a, b] = [parts(one), parts(other)];
  return a.epoch - b.epoch || compareTexts(a.upstream, b.upstream) || compareTexts(a.revision ?? "0", b.revision ?? "0");
}

// A bound without a packager's revision is about upstream's version.
function isBefore(version, bound) {
  const [a, b] = [parts(version), parts(bound)];
  return b.revision === null ? compareTexts(a.upstream, b.upstream) < 0 : compareVersions(version, bound) < 0;
}
