// The API's reference; a request that is tried there goes out with the browser's session.

import { sessionHeaders } from "./page.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  tryItOutEnabled: false,
  defaultModelsExpandDepth: 0,
  requestInterceptor: (request) => {
    if (new URL(request.url, location.href).origin === location.origin) {
      Object.assign(request.headers, sessionHeaders());
    }
    return request;
  },
});
