"""The style sheet of the report: system fonts, light and dark, nothing loaded from elsewhere."""

CSS = """
:root { color-scheme: light dark;
  --ground: #ffffff; --ink: #1f2430; --muted: #5d6672; --line: #e1e5ea; --soft: #f5f7f9;
  --accent: #0b6fb8; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14171c; --ink: #e4e7eb; --muted: #9aa3af; --line: #2c323b; --soft: #1c2027;
  --accent: #6db8ee; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
header, nav, main { max-width: 66rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 3rem; }
h1 { font-size: clamp(1.6rem, 4vw, 2.2rem); line-height: 1.2; margin: 0; letter-spacing: -0.015em;
  overflow-wrap: anywhere; }
header p { color: var(--muted); margin: 0.5rem 0 0; font-size: 1.05rem; }
nav { margin-top: 1.75rem; }
nav ol { margin: 0; padding: 0.9rem 1.25rem 0.9rem 2.5rem; background: var(--soft);
  border-radius: 0.6rem; columns: 18rem; column-gap: 2.5rem; }
nav li { break-inside: avoid; }
a { color: var(--accent); text-decoration-thickness: 0.06em; text-underline-offset: 0.18em; }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
section { margin: 2.75rem 0 0; scroll-margin-top: 1rem; }
section:last-child { margin-bottom: 4rem; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 0.6rem; padding-top: 1.4rem;
  border-top: 1px solid var(--line); }
section > p { max-width: 42rem; margin: 0 0 0.9rem; }
figure { margin: 1.4rem 0 0; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 0.6rem; }
figure .scroll { background: #ffffff; padding: 0.6rem; }
figure.table .scroll { background: none; padding: 0; }
img { display: block; width: var(--w); max-width: 100%; height: auto; margin: 0 auto; }
figcaption, caption { color: var(--muted); font-size: 0.9rem; line-height: 1.5; text-align: left; }
figcaption { margin-top: 0.5rem; max-width: 46rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: 0.5rem 0.85rem; text-align: left; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: baseline; }
th { font-weight: 600; }
thead th { background: var(--soft); color: var(--muted); font-size: 0.85rem; }
tbody tr:last-child > * { border-bottom: 0; }
.number { text-align: right; }
@media (max-width: 46rem) {
  header { padding-top: 1.75rem; }
  /* A chart of many panels is scrolled sideways rather than shrunk until nobody can read it. */
  img { max-width: none; width: max(100%, min(var(--w), 34rem)); }
}
@media (prefers-color-scheme: dark) {
  figure:not(.table) .scroll { filter: brightness(0.925); border-color: #ffffff; } }
@media print { nav { display: none; } section { break-inside: avoid; } }
"""
