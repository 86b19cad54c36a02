// SPDX-License-Identifier: Apache-2.0
declare module "swagger-ui-dist/swagger-ui-bundle.js" {
  export default function SwaggerUIBundle(options: Record<string, unknown>): void;
}
declare module "*.css";
