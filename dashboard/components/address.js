// Writes the page's address. Streamlit can only add entries to the browser's history; this also changes the present one,
// where nothing was chosen, so that one press of Back undoes one choice.

const PHONE = "(max-width: 767px)"; // where the sidebar covers the page

/** Closes the sidebar of a phone, in which a page was chosen: it would hide that page. */
function showPage() {
  if (window.matchMedia(PHONE).matches) document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
}

/** `query`: the parameters; `isChoice`: whether they say what the visitor chose just now; `number` grows from call to call. */
export default function address({ data: { query, isChoice, number } }) {
  const last = window.lakeAddress ?? { number: 0, path: null };
  if (number <= last.number) return;
  const { pathname: path, search } = window.location;
  window.lakeAddress = { number, path };
  if (last.path && path !== last.path) showPage();
  const isKept = ([name]) => ["embed", "embed_options"].includes(name);
  const kept = new URLSearchParams([...new URLSearchParams(search)].filter(isKept)).toString();
  const wanted = `?${kept}${kept && "&"}${query}`;
  if (wanted === search) return;
  const isNewEntry = path !== last.path; // of another page: Streamlit has just added it
  window.history[isChoice && !isNewEntry ? "pushState" : "replaceState"]({}, "", path + wanted);
}
