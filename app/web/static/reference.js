// The API's reference; a request that is tried there goes out with the browser's session.

import { sessionHeaders } from "./page.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

const place = document.getElementById("reference");

function show() {
  SwaggerUIBundle({
    url: "/openapi.json",
    domNode: place,
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
}

/** Load what shows it: it is large, and holds up a page that nobody has seen yet. */
function load() {
  const script = document.createElement("script");
  script.src = place.dataset.script;
  script.addEventListener("load", show);
  script.addEventListener("error", () => {
    place.textContent = "The service does not answer.";
  });
  document.head.append(script);
}

requestAnimationFrame(() => setTimeout(load));
