"""The page that shows a predictor's OpenAPI document: Swagger UI, all in one file.

A cluster's browsers may not reach a content delivery network, and a page behind the gateway's prefix could
not find files beside it that the gateway does not route.
"""

from __future__ import annotations

import html
from importlib.resources import files


def page(title: str) -> str:
    """The document is asked for beside the page, so that both may stand below a prefix."""
    assets = files("fastapi_offline") / "static"
    script = (assets / "swagger-ui-bundle.js").read_text().replace("</script", "<\\/script")
    style = (assets / "swagger-ui.css").read_text().replace("</style", "<\\/style")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
<div id="docs"></div>
<script>{script}</script>
<script>SwaggerUIBundle({{url: "openapi.json", dom_id: "#docs", deepLinking: true}})</script>
</body>
</html>
"""
