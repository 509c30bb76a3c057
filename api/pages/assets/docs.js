// The browsable API: Swagger UI over the service's own OpenAPI document.
const main = document.querySelector("#docs");
window.SwaggerUIBundle({ url: main.dataset.document, domNode: main, deepLinking: true, validatorUrl: null });

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
