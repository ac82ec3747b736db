// Puts the microscope into the place of each still; all share the one script above.

for (const explained of document.querySelectorAll(".report-explained")) {
  const text = explained.querySelector("script").textContent;
  const data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  microscope({ data, parentElement: explained.querySelector(".report-microscope") });
  explained.classList.add("report-live");
}
