// The browsable API: Swagger UI over the service's own OpenAPI document.
const main = document.querySelector("#docs");
window.SwaggerUIBundle({ url: main.dataset.document, domNode: main, deepLinking: true, validatorUrl: null });
