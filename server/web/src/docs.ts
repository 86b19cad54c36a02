// SPDX-License-Identifier: Apache-2.0
// The API description for people: Swagger UI over /openapi.yaml of this service, without anything from elsewhere.
import SwaggerUIBundle from "swagger-ui-dist/swagger-ui-bundle.js";
import "swagger-ui-dist/swagger-ui.css";
import "./docs.css";
import { key } from "./storage";

interface Request {
  headers: Record<string, string>;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
follow();
dark.addEventListener("change", follow);

SwaggerUIBundle({
  dom_id: "#api",
  url: "/openapi.yaml",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // it would ask another service
  requestInterceptor: (request: Request) => {
    if (key()) request.headers.Authorization ??= "Bearer " + key();
    return request;
  },
});
