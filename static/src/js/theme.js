// Changes the colours at once and lets the server remember them.
export function start() {
  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("[data-theme-form]");
    const button = event.submitter;
    if (!form || !button?.value) return;
    event.preventDefault();
    show(button.value);
    const data = new URLSearchParams(new FormData(form, button));
    const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
    try {
      await fetch(form.action, { method: "POST", body: data, redirect: "manual", headers: { "X-CSRF-Token": token } });
    } catch {
      // The choice holds for this page; the next one falls back.
    }
  });
}

function show(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  for (const button of document.querySelectorAll('[data-theme-form] [name="theme"]')) {
    button.setAttribute("aria-pressed", String(button.value === theme));
  }
}
