// Machines and snapshots as nodes of trees.

/** By name where both have one, as those of one fork have, and else by age. */
const before = (a, b) => (a.name && b.name && a.name.localeCompare(b.name, undefined, { numeric: true })) || a.createdAt.localeCompare(b.createdAt);

/** Puts nodes in the order in which they are drawn, each with its depth and all that grew from it. */
export function grow(nodes) {
  const all = new Map(nodes.map((n) => [n.id, { ...n, children: [], depth: 0, size: 1 }]));
  const roots = [];
  for (const node of all.values()) {
    const parent = all.get(node.parentId);
    node.parent = parent;
    (parent ? parent.children : roots).push(node);
  }
  const ordered = [];
  const visit = (node, depth) => {
    node.depth = depth;
    ordered.push(node);
    for (const child of node.children.sort(before)) {
      visit(child, depth + 1);
      node.size += child.size;
    }
  };
  for (const root of roots) visit(root, 0);
  return { roots, ordered };
}

export const nameOf = (node) => node.name || node.id.slice(0, node.kind === "snapshot" ? 11 : 8);
export const stateOf = (node) => (node.deleted ? "deleted" : node.state);
