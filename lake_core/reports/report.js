// Puts the microscope into the place of each still, and says of which tables a part is out of sight.
// All microscopes share the one script above.

for (const explained of document.querySelectorAll(".report-explained")) {
  const text = explained.querySelector("script").textContent;
  const data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  microscope({ data, parentElement: explained.querySelector(".report-microscope") });
  explained.classList.add("report-live");
}

const sizes = new ResizeObserver((changed) => {
  for (const { target } of changed) target.classList.toggle("report-wide", target.scrollWidth > target.clientWidth);
});
for (const table of document.querySelectorAll(".report-table")) sizes.observe(table);
