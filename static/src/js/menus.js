// Menus are <details>: Escape, a click elsewhere and focus moving on close them.
// Notices can be put away.
export function start() {
  document.addEventListener("click", (event) => {
    for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
    event.target.closest("[data-dismiss]")?.closest("[data-flash]")?.remove();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.shiftKey) return;
    for (const menu of open()) {
      const inside = menu.contains(document.activeElement);
      menu.open = false;
      if (inside) menu.querySelector("summary").focus();
    }
  });
  document.addEventListener("focusin", (event) => {
    for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
  });
}

function open() {
  return document.querySelectorAll("details[data-menu][open]");
}
