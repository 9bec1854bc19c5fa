"use strict";
(() => {
const chart = document.getElementById("chart"), frame = document.getElementById("frame");
chart.blur();  // the page begins at its top
frame.addEventListener("wheel", event => {
  if (document.activeElement !== chart) event.stopPropagation();
}, {capture: true});
// On paper the chart is scaled to the width of the sheet.
window.addEventListener("beforeprint", () =>
  chart.setAttribute("viewBox", `0 0 ${chart.getAttribute("width")} ${chart.getAttribute("height")}`));
window.addEventListener("afterprint", () => chart.removeAttribute("viewBox"));
})();
